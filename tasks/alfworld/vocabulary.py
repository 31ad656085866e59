"""The closed sets of words for what an ALFWorld game can speak of.

`TYPES` are the types of ALFRED's objects and receptacles (`alfworld.gen.constants`, lower case),
and four more that its games hold. A thing's name in the text is a type and a number, "apple 2".
They are written out so that a saved model's vocabulary stays what it was.
"""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


RECEPTACLES: tuple[str, ...] = _words(
    "armchair bathtub bathtubbasin bed cabinet cart coffeemachine coffeetable countertop desk "
    "diningtable drawer dresser fridge garbagecan handtowelholder laundryhamper microwave "
    "ottoman paintinghanger safe shelf sidetable sink sinkbasin sofa stoveburner toaster "
    "toilet toiletpaperhanger towelholder tvstand"
)
"""Types of what stands in a room and holds things."""

OBJECTS: tuple[str, ...] = _words(
    "alarmclock apple baseballbat basketball blinds book boots bowl box bread butterknife "
    "candle cd cellphone chair cloth creditcard cup curtains desklamp dishsponge egg faucet "
    "floorlamp footstool fork glassbottle handtowel houseplant kettle keychain knife ladle "
    "lamp laptop laundryhamperlid lettuce lightswitch mirror mug newspaper painting pan "
    "papertowel papertowelroll pen pencil peppershaker pillow plate plunger poster pot potato "
    "remotecontrol saltshaker scrubbrush showercurtain showerdoor showerglass showerhead "
    "soapbar soapbottle spatula spoon spraybottle statue stoveknob teddybear television "
    "tennisracket tissuebox toiletpaper toiletpaperroll tomato towel vase watch wateringcan "
    "window winebottle"
)
"""Types of what can be in or on a receptacle."""

TYPES: frozenset[str] = frozenset(RECEPTACLES + OBJECTS)

NUMBERS: tuple[str, ...] = tuple(str(number) for number in range(1, 31))
"""The numbers in names; real games need 27 (cabinets and drawers)."""

LAMPS = ("desklamp", "floorlamp")

TOOLS = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}
"""Treatment → the type of receptacle that gives it."""
