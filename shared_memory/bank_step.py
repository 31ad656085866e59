"""What every step of the server on a bank begins with, in Lua: read, and change in tables.

A step first reads all the entries and procedures that it is about in a few calls, changes them in
tables, and then writes what differs in a few calls more (`bank_writing`): the server's time goes
to calls, not to values. Values of a bank's keys (all big-endian):

- entries: digest of the codes (16 bytes) and action -> I4 times submitted, I4 last version,
  I8 its procedure's number, I4 times refused, then where it comes from: I4 book version, and its
  detail: origin (16 bytes), I2 decision, B accepted, I4 first token, I4 tokens;
- procedures: digest of the codes -> I8 number, I4 entries, I4 last version, I4 slot, I4 solid
  entries (those submitted often enough to count in look-ups);
- segment:I: the rows of slots 8192 * I and on: I8 number (0 where no look-up may find it), I4 last
  version, codes;
- free: slots whose procedures are gone, to be given again;
- origins: digest -> the record of an episode's prompts; kept: the same digest -> I4 entries that
  come from it, I4 bytes of that record;
- ages: entries by last version, those of one version as they came;
- order: entries by what goes first, where that is not by age.

All writes of a step happen or none: they wait in order until everything was read and reckoned, so
that what is malformed stops it before, and the first of a push, an import or a re-encoding is one
that a full server refuses.
"""

from __future__ import annotations

from shared_memory.segments import ROWS

LAYOUT = 2
"""Of the keys above; 1 had counts and records apart, and codes in the keys."""

STEP = (
    f"""
local LAYOUT, ROWS = '{LAYOUT}', {ROWS}
"""
    + """
local CHUNK = 2000
local SIGNS = {'success', 'failure'}
local pack, unpacked, sub, byte = struct.pack, struct.unpack, string.sub, string.byte
local format, concat = string.format, table.concat
local counters, log = KEYS[1], KEYS[2]

local writes = {}
local function later(...) writes[#writes + 1] = {...} end

local at = 0
local function take() at = at + 1; return ARGV[at] end
local width, most, most_bytes = tonumber(take()), tonumber(take()), tonumber(take())
local policy, solid_after = take(), tonumber(take())
local longest, log_bytes, epoch = tonumber(take()), tonumber(take()), take()

-- The ledger: read at once, changed here, written at once.
local ledger, changed = {}, {}
do
  local values = redis.call('HGETALL', counters)
  for place = 1, #values, 2 do ledger[values[place]] = values[place + 1] end
end
local function total(name) return tonumber(ledger[name] or 0) end
local function count(name, amount)
  if amount ~= 0 then
    ledger[name] = total(name) + amount
    changed[name] = true
  end
  return ledger[name]
end
local function unfit()
  if not ledger.width then
    later('HSET', counters, 'layout', LAYOUT, 'width', width, 'epoch', epoch,
      'retirement', policy, 'solid_after', solid_after)
    return
  end
  if ledger.layout ~= LAYOUT then return {'layout', ledger.layout or '1'} end
  if ledger.retirement ~= policy then return {'retirement', ledger.retirement} end
  if total('solid_after') ~= solid_after then return {'solid_after', ledger.solid_after} end
  local known = tonumber(ledger.width)
  if known ~= width and width > 0 then
    if known ~= 0 then return {'width', known} end
    later('HSET', counters, 'width', width)
  end
  if width == 0 then width = known end
end

-- A bank: its keys; totals; what was read of it; and what of that was changed, in order.
local function open(sign)
  local first = 3 + 8 * (sign - 1)
  local name = SIGNS[sign] .. ':'
  return {sign = sign, name = name, entries = KEYS[first], procedures = KEYS[first + 1],
    ages = KEYS[first + 2], order = KEYS[first + 3], origins = KEYS[first + 4],
    kept = KEYS[first + 5], free = KEYS[first + 6], segment = KEYS[first + 7],
    bytes = total(name .. 'bytes'), solid = total(name .. 'solid'), more = 0, retired = 0,
    entry = {}, procedure = {}, origin = {}, dirty = {}, moved = {}, from = {}, places = {}}
end
local banks = {open(1), open(2)}
local payloads, gone = {}, {}

local function read(key, names, known, made)
  local wanted, size = {}, 0
  for _, name in ipairs(names) do
    if known[name] == nil then
      known[name] = false
      size = size + 1
      wanted[size] = name
    end
  end
  for first = 1, size, CHUNK do
    local last = math.min(first + CHUNK - 1, size)
    local values = redis.call('HMGET', key, unpack(wanted, first, last))
    for place, value in ipairs(values) do
      if value then
        local name = wanted[first + place - 1]
        known[name] = made(name, value)
      end
    end
  end
end
-- An entry is `alive` unless it goes; its procedure has `counted` it, and as `solid`; it is `filed`
-- under a version in the order of ages; it was `told` to replicas under a procedure's number.
local function made_entry(key, value)
  local times, version, number, refused, book = unpacked('>I4I4I8I4I4', value)
  local solid = times >= solid_after
  return {key = key, times = times, version = version, number = number, refused = refused,
    book = book, detail = sub(value, 25), filed = version, stored = true, alive = true,
    counted = true, solid = solid, told = solid and number, dirty = false, codes = false}
end
local function new_entry(bank, key, book, detail)
  local entry = bank.entry[key]
  if entry then -- it went in this very step
    entry.times, entry.version, entry.refused, entry.alive = 0, 0, 0, true
    entry.book, entry.detail = book, detail
    return entry
  end
  entry = {key = key, times = 0, version = 0, number = 0, refused = 0, book = book,
    detail = detail, filed = false, stored = false, alive = true, counted = false, solid = false,
    told = false, dirty = false, codes = false}
  bank.entry[key] = entry
  return entry
end
local function made_procedure(digest, value)
  local number, entries, version, slot, solid = unpacked('>I8I4I4I4I4', value)
  local shown = solid > 0
  return {digest = digest, number = shown and number or false, entries = entries, solid = solid,
    version = version, was = version, slot = slot, shown = shown, stored = true, dirty = false,
    codes = false}
end
local function made_origin(digest, value)
  local entries, size = unpacked('>I4I4', value)
  return {digest = digest, entries = entries, size = size, stored = true, dirty = false}
end
local function read_entries(bank, keys) read(bank.entries, keys, bank.entry, made_entry) end
local function read_around(bank, entries)
  local digests, origins = {}, {}
  for place, entry in ipairs(entries) do
    digests[place], origins[place] = sub(entry.key, 1, 16), sub(entry.detail, 1, 16)
  end
  read(bank.procedures, digests, bank.procedure, made_procedure)
  read(bank.kept, origins, bank.origin, made_origin)
end
local function touch(bank, entry)
  if not entry.dirty then
    entry.dirty = true
    bank.dirty[#bank.dirty + 1] = entry
  end
end

local function count_origin(bank, entry, by)
  local digest = sub(entry.detail, 1, 16)
  local origin = bank.origin[digest]
  if not origin then
    origin = {digest = digest, entries = 0, size = #payloads[digest], stored = false,
      dirty = false}
    bank.origin[digest] = origin
  end
  local entries = origin.entries + by
  if origin.entries == 0 then bank.bytes = bank.bytes + 24 + origin.size end
  if entries == 0 then bank.bytes = bank.bytes - 24 - origin.size end
  origin.entries = entries
  if not origin.dirty then
    origin.dirty = true
    bank.from[#bank.from + 1] = origin
  end
end
-- Makes the entry's procedure agree with it: that it is there, counts, and was seen.
local function settle(bank, entry)
  local digest = sub(entry.key, 1, 16)
  local procedure = bank.procedure[digest]
  if not procedure then
    procedure = {digest = digest, number = false, entries = 0, solid = 0, version = 0, was = false,
      slot = false, shown = false, stored = false, dirty = false, codes = false}
    bank.procedure[digest] = procedure
  end
  if not procedure.dirty then
    procedure.dirty = true
    bank.moved[#bank.moved + 1] = procedure
  end
  local alive = entry.alive
  local solid = alive and entry.times >= solid_after
  if solid ~= entry.solid then
    local by = solid and 1 or -1
    entry.solid, bank.solid, procedure.solid = solid, bank.solid + by, procedure.solid + by
    if procedure.solid == 0 and procedure.shown then
      gone[#gone + 1] = pack('>BI8', bank.sign - 1, procedure.number)
      procedure.shown, procedure.number, procedure.was = false, false, false
    end
  end
  if alive ~= entry.counted then
    local by = alive and 1 or -1
    local size = by * (#entry.key + 51)
    if procedure.entries == 0 then size = size + 52 + width end
    procedure.entries = procedure.entries + by
    if procedure.entries == 0 then
      size = size - 52 - width
      procedure.version, procedure.was = 0, false
    end
    bank.bytes, bank.more, entry.counted = bank.bytes + size, bank.more + by, alive
    count_origin(bank, entry, by)
  end
  if alive and entry.version > procedure.version then procedure.version = entry.version end
  procedure.codes = entry.codes or procedure.codes
end
local function drop(bank, entry)
  entry.alive = false
  touch(bank, entry)
  settle(bank, entry)
end
local function retire(bank, entry)
  bank.retired = bank.retired + 1
  count(bank.name .. 'retired', 1)
  count(bank.name .. 'retired_submissions', entry.times)
  drop(bank, entry)
end
"""
)
"""KEYS: counters log, then the keys of M+ and of M- as `SignKeys.all` gives them. ARGV: width of
codes in bytes, most entries and most bytes a bank, retirement policy, submissions from which on an
entry is solid, longest log in batches and in bytes, epoch."""
