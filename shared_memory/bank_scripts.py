"""What the server does for a bank as one step each, in Lua; `bank_step` has what they share."""

from __future__ import annotations

from shared_memory.bank_step import STEP
from shared_memory.connection import AtomicScript

PUSH = AtomicScript(
    STEP
    + """
local wrong = unfit()
if wrong then return wrong end
local episodes, requested, outcomes, plans = unpack(KEYS, 19, 22)
for _ = 1, tonumber(take()) do
  local digest = take()
  payloads[digest] = take()
end
local before, gone = {}, {}
for sign = 1, 2 do
  local name = banks[sign].name
  before[sign] = {total(name .. 'submitted'), total(name .. 'admitted'),
    total(name .. 'duplicates'), total(name .. 'retired')}
end
local counted, named = {}, {{}, {}}
local finished, doubled = 0, 0
for _ = 1, tonumber(take()) do
  local number, version, sign, event = take(), tonumber(take()), tonumber(take()), take()
  local procedures = tonumber(take())
  if redis.call('SETBIT', episodes, number, 1) == 1 then
    doubled = doubled + 1
  else
    finished = finished + 1
    if sign == 1 then count('succeeded', 1) end
    counted[finished] = {at, version, sign, event, procedures}
    local keys = named[sign]
    for place = at + 1, at + 3 * procedures, 3 do keys[#keys + 1] = ARGV[place] end
  end
  at = at + 3 * procedures
end
for sign = 1, 2 do read_entries(banks[sign], named[sign]) end
local fresh = {0, 0}
for _, episode in ipairs(counted) do
  local start, version, sign, event, procedures = unpack(episode)
  local bank, seen, mine = banks[sign], struct.pack('>I4', version), 0
  local known, dirty = bank.entry, bank.dirty
  for place = start + 1, start + 3 * procedures, 3 do
    local key, detail = ARGV[place], ARGV[place + 2]
    local entry = known[key]
    if not entry then
      entry = new_entry(bank, key, seen .. detail)
      mine = mine + 1
    end
    entry.codes = ARGV[place + 1]
    entry.times = entry.times + 1
    if string.byte(detail, 19) == 0 then entry.refused = entry.refused + 1 end
    if version > entry.version then entry.version = version end
    if not entry.dirty then
      entry.dirty = true
      dirty[#dirty + 1] = entry
    end
  end
  fresh[sign] = fresh[sign] + mine
  count(bank.name .. 'submitted', procedures)
  count(bank.name .. 'admitted', mine)
  count(bank.name .. 'duplicates', procedures - mine)
  redis.call('XADD', outcomes, string.format('%d-0', count('outcomes', 1)),
    'k', 'episode', 'p', event, 'a', mine, 'd', procedures - mine)
end
count('finished', finished)
count('doubled', doubled)
local asked = 0
for _ = 1, tonumber(take()) do
  local index, request = take(), take()
  if redis.call('SETBIT', requested, index, 1) == 0 then
    asked = asked + 1
    redis.call('XADD', plans, '*', 'p', request)
  end
end
count('requested', asked)
for _, bank in ipairs(banks) do
  local unsettled = {}
  for _, entry in ipairs(bank.dirty) do
    if not entry.counted or entry.version ~= entry.filed
        or entry.solid ~= (entry.times >= solid_after) then
      unsettled[#unsettled + 1] = entry
    end
  end
  read_around(bank, unsettled)
  for _, entry in ipairs(unsettled) do settle(bank, entry, gone) end
end
for _, bank in ipairs(banks) do file(bank) end
for sign, bank in ipairs(banks) do make_room(bank, fresh[sign], gone) end
write(gone)
local reply = {finished, doubled, asked}
for sign = 1, 2 do
  for place, name in ipairs({'submitted', 'admitted', 'duplicates', 'retired'}) do
    reply[#reply + 1] = total(banks[sign].name .. name) - before[sign][place]
  end
end
return reply
"""
)
"""KEYS: as for STEP, then episodes requested outcomes plans. ARGV: as for STEP, then the origins
(digest, record), the episodes (number, version, sign 1|2, event, procedures × (key, codes, detail:
the entry's origin without its book version)), and the plan requests (task index, payload)."""

RETIRE = AtomicScript(
    STEP
    + """
local sign, below, some = tonumber(take()), tonumber(take()), take()
if not ledger.width then return 0 end
if ledger.layout ~= LAYOUT then return {'layout', ledger.layout or '1'} end
width, policy, solid_after = tonumber(ledger.width), ledger.retirement, total('solid_after')
local bank, entries, gone = banks[sign], {}, {}
local old = redis.call('ZRANGEBYSCORE', bank.ages, '-inf',
  string.format('(%.0f', below * 4294967296), 'LIMIT', 0, some)
read_entries(bank, old)
for _, key in ipairs(old) do entries[#entries + 1] = bank.entry[key] or nil end
read_around(bank, entries)
for _, entry in ipairs(entries) do retire(bank, entry, gone) end
write(gone)
return #old
"""
)
"""KEYS: as for STEP. ARGV: as for STEP, then sign 1|2, the version below which entries go, most
entries in this step."""

RESTORE = AtomicScript(
    STEP
    + """
local wrong = unfit()
if wrong then return wrong end
local sign, guard, batch = tonumber(take()), take(), tonumber(take())
if tonumber(redis.call('HGET', counters, guard) or -1) >= batch then return {'ok', 0, 0} end
redis.call('HSET', counters, guard, batch)
for _ = 1, tonumber(take()) do
  local digest = take()
  payloads[digest] = take()
end
local bank, keys, gone = banks[sign], {}, {}
local rows, fresh, merged = tonumber(take()), 0, 0
for row = 1, rows do keys[row] = ARGV[at + 6 * (row - 1) + 1] end
read_entries(bank, keys)
local entries = {}
for row = 1, rows do
  local key, codes, times, refused = take(), take(), tonumber(take()), tonumber(take())
  local version, from = tonumber(take()), take()
  local entry = bank.entry[key]
  if entry then
    merged = merged + 1
  else
    fresh = fresh + 1
    entry = new_entry(bank, key, from)
  end
  entry.codes = codes
  entry.times = math.min(entry.times + times, 4294967295)
  entry.refused = math.min(entry.refused + refused, 4294967295)
  if version > entry.version then entry.version = version end
  touch(bank, entry)
  entries[row] = entry
  count(bank.name .. 'imported_submissions', times)
end
count(bank.name .. 'imported', fresh)
read_around(bank, entries)
for _, entry in ipairs(entries) do settle(bank, entry, gone) end
file(bank)
make_room(bank, fresh, gone)
write(gone)
return {'ok', fresh, merged}
"""
)
"""KEYS: as for STEP. ARGV: as for STEP, then sign 1|2, the guard's name and this batch's number (a
batch that was taken in before changes nothing), the origins (digest, record), and the entries
(key, codes, times, refused, version, where it comes from)."""

REENCODE = AtomicScript(
    STEP
    + """
local wrong = unfit()
if wrong then return wrong end
redis.call('HSET', counters, 'layout', LAYOUT) -- refused where the server is full, as all below
local sign, encoded, rows = tonumber(take()), tonumber(take()), tonumber(take())
local bank, keys, gone = banks[sign], {}, {}
for place = at + 1, at + 3 * rows, 3 do
  keys[#keys + 1] = ARGV[place]
  keys[#keys + 1] = ARGV[place + 1]
end
read_entries(bank, keys)
local around = {}
for _, key in ipairs(keys) do
  around[#around + 1] = bank.entry[key] or {key = key, from = string.rep('\\0', 20)}
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
      settle(bank, entry, gone)
    else
      moving[#moving + 1] = {new, codes, entry.times, entry.refused,
        struct.pack('>I4', encoded) .. string.sub(entry.from, 5)}
      drop(bank, entry, gone)
    end
  end
end
local merged = 0
for _, one in ipairs(moving) do
  local new, codes, times, refused, from = unpack(one)
  local entry = bank.entry[new]
  if entry and entry.alive then
    merged = merged + 1
    if entry.version < encoded then
      count_origin(bank, entry, -1)
      entry.from = from
      count_origin(bank, entry, 1)
    end
  else
    entry = new_entry(bank, new, from)
  end
  entry.codes = codes
  entry.times = math.min(entry.times + times, 4294967295)
  entry.refused = math.min(entry.refused + refused, 4294967295)
  if encoded > entry.version then entry.version = encoded end
  touch(bank, entry)
  settle(bank, entry, gone)
end
count(bank.name .. 'reencoded', #moving)
count(bank.name .. 'merged', merged)
file(bank)
write(gone)
return {same, #moving, merged}
"""
)
"""KEYS: as for STEP. ARGV: as for STEP, then sign 1|2, the version that encoded, and the entries
(key, key with the new codes, new codes); entries that are gone, or were seen with that version,
stay as they are. All of them leave their places before the first takes its new one; an entry that
none of them is, and that version has not seen, gives its place up to the one that comes there."""
