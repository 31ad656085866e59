"""What the server does for a bank as one step each, in Lua.

What they share is in `bank_step` and `bank_writing`.
"""

from __future__ import annotations

from shared_memory.bank_quick_push import QUICK_PUSH
from shared_memory.bank_step import STEP
from shared_memory.bank_writing import WRITING
from shared_memory.connection import AtomicScript

PUSH = AtomicScript(
    STEP
    + WRITING
    + """
local wrong = unfit()
if wrong then return wrong end
local episodes, requested, outcomes, plans = unpack(KEYS, 19, 22)
local before, payload = tonumber(take()), 0
for _ = 1, tonumber(take()) do
  local digest, record = take(), take()
  payloads[digest], payload = record, payload + 24 + #record
end
local counted, submitted, doubled, seen = {}, {0, 0}, {}, {}
for place = 1, tonumber(take()) do
  local number, sign, event, procedures = take(), tonumber(take()), take(), tonumber(take())
  if seen[number] or redis.call('GETBIT', episodes, number) == 1 then
    doubled[#doubled + 1] = place - 1
  else
    seen[number] = true
    later('SETBIT', episodes, number, 1)
    counted[#counted + 1] = {number, sign, event, procedures}
    submitted[sign] = submitted[sign] + procedures
  end
end
if #doubled > 0 then return {'doubled', doubled} end -- the rest is to come again without them
local finished, succeeded = #counted, 0
for _, episode in ipairs(counted) do
  if episode[2] == 1 then succeeded = succeeded + 1 end
end
count('finished', finished)
count('succeeded', succeeded)
count('doubled', before)
local asked, wished = 0, {}
for _ = 1, tonumber(take()) do
  local index, request = take(), take()
  if not wished[index] and redis.call('GETBIT', requested, index) == 0 then
    asked, wished[index] = asked + 1, true
    later('SETBIT', requested, index, 1)
    later('XADD', plans, '*', 'p', request)
  end
end
count('requested', asked)
-- Of each bank: rows, 45 bytes each (times, last version, times refused, first episode, and from
-- the 15th on what an entry keeps of its first submission), their codes, and where their keys are.
local batch = {}
for sign = 1, 2 do batch[sign] = {size = tonumber(take()), rows = take(), codes = take()} end
batch[1].base, batch[2].base = at, at + batch[1].size
for place = at + 1, #ARGV do payload = payload + #ARGV[place] end
"""
    + QUICK_PUSH
    + """
local function push(bank, new, fresh_of)
  local keys = {}
  for row = 1, new.size do keys[row] = ARGV[new.base + row] end
  read_entries(bank, keys)
  for row, key in ipairs(keys) do
    local place, entry = 45 * (row - 1), bank.entry[key]
    local times, version, refused, of, book = unpacked('>I4I4I4I2I4', new.rows, place + 1)
    if not entry then
      entry = new_entry(bank, key, book, sub(new.rows, place + 19, place + 45))
      fresh_of[of + 1] = fresh_of[of + 1] + 1
    end
    touch(bank, entry)
    entry.codes = sub(new.codes, (row - 1) * width + 1, row * width)
    entry.times, entry.refused = entry.times + times, entry.refused + refused
    if version > entry.version then entry.version = version end
  end
  local unsettled = {}
  for _, entry in ipairs(bank.dirty) do
    if not entry.counted or entry.version ~= entry.filed
        or entry.solid ~= (entry.times >= solid_after) then
      unsettled[#unsettled + 1] = entry
    end
  end
  read_around(bank, unsettled)
  for _, entry in ipairs(unsettled) do settle(bank, entry) end
end
local fresh_of, fresh = {}, {0, 0}
for number = 1, finished do fresh_of[number] = 0 end
local quick = fits(submitted, payload)
for _, bank in ipairs(banks) do
  local way = quick and quick_push or push
  way(bank, batch[bank.sign], fresh_of)
end
for number, episode in ipairs(counted) do
  local _, sign, event, procedures = unpack(episode)
  local mine = fresh_of[number]
  fresh[sign] = fresh[sign] + mine
  later('XADD', outcomes, next_of(outcomes, 'outcomes'),
    'k', 'episode', 'p', event, 'a', mine, 'd', procedures - mine)
end
for sign, bank in ipairs(banks) do
  count(bank.name .. 'submitted', submitted[sign])
  count(bank.name .. 'admitted', fresh[sign])
  count(bank.name .. 'duplicates', submitted[sign] - fresh[sign])
end
if not quick then
  for _, bank in ipairs(banks) do file(bank) end
  for sign, bank in ipairs(banks) do make_room(bank, fresh[sign]) end
end
write()
local reply = {finished, before, asked}
for sign, bank in ipairs(banks) do
  local all, new = submitted[sign], fresh[sign]
  for _, number in ipairs({all, new, all - new, bank.retired}) do reply[#reply + 1] = number end
end
return reply
"""
)
"""KEYS: as for STEP, then episodes requested outcomes plans. ARGV: as for STEP, then how many
episodes of this batch were found doubled before, the origins (digest, record), the episodes
(number, sign 1|2, event, procedures), the plan requests (task index, payload), for each bank how
many rows, the rows and their codes, and the keys of all rows. Where episodes were counted before,
nothing is done: the answer is their places."""

RETIRE = AtomicScript(
    STEP
    + WRITING
    + """
local sign, below, some = tonumber(take()), tonumber(take()), take()
if not ledger.width then return 0 end
if ledger.layout ~= LAYOUT then return {'layout', ledger.layout or '1'} end
width, policy, solid_after = tonumber(ledger.width), ledger.retirement, total('solid_after')
local bank, entries = banks[sign], {}
local old = redis.call('ZRANGEBYSCORE', bank.ages, '-inf',
  string.format('(%.0f', below * 4294967296), 'LIMIT', 0, some)
read_entries(bank, old)
for _, key in ipairs(old) do entries[#entries + 1] = bank.entry[key] or nil end
read_around(bank, entries)
for _, entry in ipairs(entries) do retire(bank, entry) end
write()
return #old
"""
)
"""KEYS: as for STEP. ARGV: as for STEP, then sign 1|2, the version below which entries go, most
entries in this step."""

RESTORE = AtomicScript(
    STEP
    + WRITING
    + """
local wrong = unfit()
if wrong then return wrong end
local sign, guard, batch = tonumber(take()), take(), tonumber(take())
local adds = guard ~= ''
if adds then
  if tonumber(ledger[guard] or -1) >= batch then return {'ok', 0, 0} end
  later('HSET', counters, guard, batch)
else
  later('HSET', counters, 'layout', LAYOUT) -- refused where the server is full, as all below
end
for _ = 1, tonumber(take()) do
  local digest = take()
  payloads[digest] = take()
end
local bank, keys = banks[sign], {}
local rows, fresh, merged = tonumber(take()), 0, 0
for row = 1, rows do keys[row] = ARGV[at + 7 * (row - 1) + 1] end
read_entries(bank, keys)
local entries = {}
for row = 1, rows do
  local key, codes, times, refused = take(), take(), tonumber(take()), tonumber(take())
  local version, book, detail = tonumber(take()), tonumber(take()), take()
  local entry = bank.entry[key]
  if entry then
    merged = merged + 1
  else
    fresh = fresh + 1
    entry = new_entry(bank, key, book, detail)
  end
  local before = entry.times
  entry.codes = codes
  entry.times = adds and math.min(before + times, 4294967295) or math.max(before, times)
  entry.refused = adds and math.min(entry.refused + refused, 4294967295)
    or math.max(entry.refused, refused)
  if version > entry.version then entry.version = version end
  touch(bank, entry)
  entries[row] = entry
  count(bank.name .. 'imported_submissions', entry.times - before)
end
count(bank.name .. 'imported', fresh)
read_around(bank, entries)
for _, entry in ipairs(entries) do settle(bank, entry) end
file(bank)
make_room(bank, fresh)
write()
return {'ok', fresh, merged}
"""
)
"""KEYS: as for STEP. ARGV: as for STEP, then sign 1|2, the guard's name and this batch's number (a
batch that was taken in before changes nothing), the origins (digest, record), and the entries
(key, codes, times, refused, version, book version, detail). Without a guard's name counts are not
added: the larger stays."""

REENCODE = AtomicScript(
    STEP
    + WRITING
    + """
local wrong = unfit()
if wrong then return wrong end
later('HSET', counters, 'layout', LAYOUT) -- refused where the server is full, as all below
local sign, encoded, rows = tonumber(take()), tonumber(take()), tonumber(take())
local bank, keys = banks[sign], {}
for place = at + 1, at + 3 * rows, 3 do
  keys[#keys + 1] = ARGV[place]
  keys[#keys + 1] = ARGV[place + 1]
end
read_entries(bank, keys)
local around = {}
for _, key in ipairs(keys) do
  around[#around + 1] = bank.entry[key] or {key = key, detail = ''}
end
read_around(bank, around)
local same, moving = 0, {}
for _ = 1, rows do
  local key, new, codes = take(), take(), take()
  local entry = bank.entry[key]
  if entry and entry.alive and entry.version < encoded then
    if new == key then
      same = same + 1
      entry.version, entry.codes = encoded, codes
      touch(bank, entry)
      settle(bank, entry)
    else
      moving[#moving + 1] = {new, codes, entry.times, entry.refused, entry.detail}
      drop(bank, entry)
    end
  end
end
local merged = 0
for _, one in ipairs(moving) do
  local new, codes, times, refused, detail = unpack(one)
  local entry = bank.entry[new]
  if entry and entry.alive then
    merged = merged + 1
    if entry.version < encoded then
      count_origin(bank, entry, -1)
      entry.book, entry.detail = encoded, detail
      count_origin(bank, entry, 1)
    end
  else
    entry = new_entry(bank, new, encoded, detail)
  end
  entry.codes = codes
  entry.times = math.min(entry.times + times, 4294967295)
  entry.refused = math.min(entry.refused + refused, 4294967295)
  if encoded > entry.version then entry.version = encoded end
  touch(bank, entry)
  settle(bank, entry)
end
count(bank.name .. 'reencoded', #moving)
count(bank.name .. 'merged', merged)
file(bank)
write()
return {same, #moving, merged}
"""
)
"""KEYS: as for STEP. ARGV: as for STEP, then sign 1|2, the version that encoded, and the entries
(key, key with the new codes, new codes); entries that are gone, or were seen with that version,
stay as they are. All of them leave their places before the first takes its new one; an entry that
none of them is, and that version has not seen, gives its place up to the one that comes there."""
