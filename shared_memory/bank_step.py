"""What every step of the server on a bank has in common, in Lua: read, change, write back.

A step first reads all the entries and procedures that it is about in a few calls, changes them in
tables, and then writes what differs in a few calls more: the server's time goes to calls, not to
values. Values of a bank's keys (all big-endian):

- entries: digest of the codes (16 bytes) and action -> I4 times submitted, I4 last version,
  I8 its procedure's number, I4 times refused, then where it comes from: I4 book version, origin
  (16 bytes), I2 decision, B accepted, I4 first token, I4 tokens;
- procedures: digest of the codes -> I8 number, I4 entries, I4 last version, I4 slot, I4 solid
  entries (those submitted often enough to count in look-ups);
- segment:I: the rows of slots 8192 * I and on: I8 number (0 where no look-up may find it), I4 last
  version, codes;
- free: slots whose procedures are gone, to be given again;
- origins: digest -> the record of an episode's prompts; kept: the same digest -> I4 entries that
  come from it, I4 bytes of that record;
- ages: entries by last version, those of one version as they came;
- order: entries by what goes first, where that is not by age.

The log's rows for the replicas are `B sign, I8 number, I4 last version, codes` (added: a look-up
may find it from now on), the same without codes (touched), `B sign, I8 number` (retired), and
`B sign, I8 number, I4 times submitted, I4 times refused, I2 length, action` (tried: the counts of
a solid entry after this step; 0 times where it is gone). All writes of a script happen or none.
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
local CHUNK, VALUES = 2000, 51
local SIGNS = {'success', 'failure'}
local TOTALS = {'submitted', 'admitted', 'duplicates', 'retired', 'retired_submissions', 'bytes',
  'imported', 'imported_submissions', 'reencoded', 'merged', 'solid', 'slots'}
local counters, log = KEYS[1], KEYS[2]

local at = 0
local function take() at = at + 1; return ARGV[at] end
local width, most, most_bytes = tonumber(take()), tonumber(take()), tonumber(take())
local policy, solid_after = take(), tonumber(take())
local longest, log_bytes, epoch = tonumber(take()), tonumber(take()), take()

-- The ledger: read at once, changed here, written at once.
local ledger, changed = {}, {}
do
  local names = {'layout', 'width', 'retirement', 'solid_after', 'procedure', 'seen', 'log',
    'log_mean', 'outcomes', 'finished', 'succeeded', 'requested', 'doubled'}
  for _, sign in ipairs(SIGNS) do
    for _, name in ipairs(TOTALS) do names[#names + 1] = sign .. ':' .. name end
  end
  local values = redis.call('HMGET', counters, unpack(names))
  for place, name in ipairs(names) do ledger[name] = values[place] end
end
local function total(name) return tonumber(ledger[name] or 0) end
local function count(name, amount)
  if amount ~= 0 then
    ledger[name] = total(name) + amount
    changed[name] = true
  end
  return ledger[name]
end
local function write_ledger()
  local values = {}
  for name in pairs(changed) do
    values[#values + 1] = name
    values[#values + 1] = string.format('%.0f', ledger[name])
  end
  if #values > 0 then redis.call('HSET', counters, unpack(values)) end
end
local function unfit()
  if not ledger.width then
    redis.call('HSET', counters, 'layout', LAYOUT, 'width', width, 'epoch', epoch,
      'retirement', policy, 'solid_after', solid_after)
    return
  end
  if ledger.layout ~= LAYOUT then return {'layout', ledger.layout or '1'} end
  if ledger.retirement ~= policy then return {'retirement', ledger.retirement} end
  if total('solid_after') ~= solid_after then return {'solid_after', ledger.solid_after} end
  local known = tonumber(ledger.width)
  if known ~= width and width > 0 then
    if known ~= 0 then return {'width', known} end
    redis.call('HSET', counters, 'width', width)
  end
  if width == 0 then width = known end
end

-- A bank: what was read of it, and what of that was changed, in order.
local function open(sign)
  local first = 3 + 8 * (sign - 1)
  local name = SIGNS[sign] .. ':'
  return {sign = sign, name = name, bytes = name .. 'bytes', entries = KEYS[first],
    procedures = KEYS[first + 1], ages = KEYS[first + 2], order = KEYS[first + 3],
    origins = KEYS[first + 4], kept = KEYS[first + 5], free = KEYS[first + 6],
    segment = KEYS[first + 7], entry = {}, dirty = {}, procedure = {}, moved = {}, origin = {},
    from = {}}
end
local banks = {open(1), open(2)}
local payloads = {}

local function read(key, names, known, made)
  local wanted = {}
  for _, name in ipairs(names) do
    if known[name] == nil then
      known[name] = false
      wanted[#wanted + 1] = name
    end
  end
  for first = 1, #wanted, CHUNK do
    local last = math.min(first + CHUNK - 1, #wanted)
    local values = redis.call('HMGET', key, unpack(wanted, first, last))
    for place, value in ipairs(values) do
      if value then
        local name = wanted[first + place - 1]
        known[name] = made(name, value)
      end
    end
  end
end
local function made_entry(key, value)
  local times, version, number, refused = struct.unpack('>I4I4I8I4', value)
  local solid = times >= solid_after
  return {key = key, times = times, version = version, number = number, refused = refused,
    from = string.sub(value, 21), filed = version, stored = true, alive = true, counted = true,
    solid = solid, told = solid and number}
end
local function made_procedure(digest, value)
  local number, entries, version, slot, solid = struct.unpack('>I8I4I4I4I4', value)
  return {digest = digest, number = solid > 0 and number or nil, entries = entries,
    version = version, slot = slot, solid = solid, shown = solid > 0, was = version, stored = true}
end
local function made_origin(digest, value)
  local entries, size = struct.unpack('>I4I4', value)
  return {digest = digest, entries = entries, size = size, stored = true}
end
local function read_entries(bank, keys) read(bank.entries, keys, bank.entry, made_entry) end
local function read_around(bank, entries)
  local digests, origins = {}, {}
  for place, entry in ipairs(entries) do
    digests[place] = string.sub(entry.key, 1, 16)
    origins[place] = string.sub(entry.from, 5, 20)
  end
  read(bank.procedures, digests, bank.procedure, made_procedure)
  read(bank.kept, origins, bank.origin, made_origin)
end
local function new_entry(bank, key, from)
  local entry = bank.entry[key]
  if not entry then
    entry = {key = key}
    bank.entry[key] = entry
  end
  entry.times, entry.version, entry.refused, entry.from = 0, 0, 0, from
  entry.alive, entry.counted, entry.solid = true, false, false
  return entry
end
local function touch(bank, entry)
  if not entry.dirty then
    entry.dirty = true
    bank.dirty[#bank.dirty + 1] = entry
  end
end

local function count_origin(bank, entry, by)
  local digest = string.sub(entry.from, 5, 20)
  local origin = bank.origin[digest]
  if not origin then
    origin = {digest = digest, entries = 0, size = #payloads[digest]}
    bank.origin[digest] = origin
  end
  if origin.entries == 0 then count(bank.bytes, 24 + origin.size) end
  origin.entries = origin.entries + by
  if origin.entries == 0 then count(bank.bytes, -24 - origin.size) end
  if not origin.dirty then
    origin.dirty = true
    bank.from[#bank.from + 1] = origin
  end
end
-- Makes the entry's procedure agree with it: that it is there, counts, and was seen.
local function settle(bank, entry, gone)
  local digest = string.sub(entry.key, 1, 16)
  local procedure = bank.procedure[digest]
  if not procedure then
    procedure = {digest = digest, entries = 0, version = 0, solid = 0}
    bank.procedure[digest] = procedure
  end
  if not procedure.dirty then
    procedure.dirty = true
    bank.moved[#bank.moved + 1] = procedure
  end
  local solid = entry.alive and entry.times >= solid_after
  if solid ~= entry.solid then
    procedure.solid = procedure.solid + (solid and 1 or -1)
    count(bank.name .. 'solid', solid and 1 or -1)
    entry.solid = solid
    if procedure.solid == 0 and procedure.shown then
      gone[#gone + 1] = struct.pack('>BI8', bank.sign - 1, procedure.number)
      procedure.shown, procedure.number, procedure.was = false, nil, nil
    end
  end
  if entry.alive ~= entry.counted then
    local by, size = entry.alive and 1 or -1, 40 + 12 + width
    if procedure.entries == 0 then count(bank.bytes, size) end
    procedure.entries = procedure.entries + by
    if procedure.entries == 0 then
      count(bank.bytes, -size)
      procedure.version, procedure.was = 0, nil
    end
    count(bank.bytes, by * (#entry.key + VALUES))
    bank.held = bank.held and bank.held + by
    count_origin(bank, entry, by)
    entry.counted = entry.alive
  end
  if entry.alive and entry.version > procedure.version then procedure.version = entry.version end
  procedure.codes = entry.codes or procedure.codes
end
local function drop(bank, entry, gone)
  entry.alive = false
  touch(bank, entry)
  settle(bank, entry, gone)
end
local function retire(bank, entry, gone)
  count(bank.name .. 'retired', 1)
  count(bank.name .. 'retired_submissions', entry.times)
  drop(bank, entry, gone)
end

local function many(command, key, values)
  for first = 1, #values, CHUNK do
    redis.call(command, key, unpack(values, first, math.min(first + CHUNK - 1, #values)))
  end
end
local function score(entry, against)
  if policy == 'reservoir' then
    return tonumber(string.sub(redis.sha1hex(entry.key), 1, 12), 16)
  elseif policy == 'least_used' then
    return math.min(entry.times, 2097151) * 2147483648 + entry.version
  end
  return math.floor((entry.times + 1) / (entry.times + against + 2) * 1048576) * 2147483648
    + entry.version
end
local function file(bank)
  local other = banks[3 - bank.sign]
  local keys = {}
  if policy == 'worst_outcome' then
    for place, entry in ipairs(bank.dirty) do keys[place] = entry.key end
    read_entries(other, keys)
  end
  local ages, order, theirs = {}, {}, {}
  local function into(list, key, value)
    list[#list + 1] = string.format('%.0f', value)
    list[#list + 1] = key
  end
  for _, entry in ipairs(bank.dirty) do
    if entry.alive then
      if entry.filed ~= entry.version then
        entry.filed = entry.version
        into(ages, entry.key, entry.version * 4294967296 + count('seen', 1) % 4294967296)
      end
      if policy ~= 'oldest' then
        local opposite = other.entry[entry.key]
        local known = opposite and opposite.alive
        into(order, entry.key, score(entry, known and opposite.times or 0))
        if known and policy == 'worst_outcome' then
          into(theirs, entry.key, score(opposite, entry.times))
        end
      end
    end
  end
  many('ZADD', bank.ages, ages)
  many('ZADD', bank.order, order)
  many('ZADD', other.order, theirs)
end
local function unfile(bank, entries)
  local keys = {}
  for _, entry in ipairs(entries) do
    if not entry.alive and entry.filed then
      entry.filed = nil
      keys[#keys + 1] = entry.key
    end
  end
  many('ZREM', bank.ages, keys)
  if policy ~= 'oldest' then many('ZREM', bank.order, keys) end
end
local function make_room(bank, fresh, gone)
  if fresh == 0 then return end
  bank.held = bank.held or redis.call('HLEN', bank.entries) + fresh
  local order, left = policy == 'oldest' and bank.ages or bank.order, fresh + 1000
  local function too_much()
    return bank.held > most or total(bank.bytes) > most_bytes
  end
  while left > 0 and too_much() do
    local some = math.min(left, math.max(bank.held - most, 16))
    local first, entries = redis.call('ZRANGE', order, 0, some - 1), {}
    if #first == 0 then return end
    read_entries(bank, first)
    local strays = {}
    for _, key in ipairs(first) do
      local entry = bank.entry[key]
      local list = entry and entries or strays
      list[#list + 1] = entry or {key = key, filed = 0}
    end
    unfile(bank, strays)
    read_around(bank, entries)
    for _, entry in ipairs(entries) do
      if not too_much() then break end
      retire(bank, entry, gone)
      left = left - 1
    end
    unfile(bank, entries)
  end
end

-- Writing back.
local function write_procedures(bank, added, touched, gone)
  local out, values, fresh, rows = {}, {}, {}, {}
  local size = 12 + width
  local function segment(slot)
    return string.format('%s:%d', bank.segment, math.floor(slot / ROWS)), slot % ROWS * size
  end
  local function put(slot, bytes)
    local key, place = segment(slot)
    redis.call('SETRANGE', key, place, bytes)
  end
  local free = {}
  for _, procedure in ipairs(bank.moved) do
    if procedure.entries == 0 then
      if procedure.stored then
        out[#out + 1] = procedure.digest
        free[#free + 1] = procedure.slot
        put(procedure.slot, string.rep('\\0', 8))
      end
    elseif not procedure.stored then
      fresh[#fresh + 1] = procedure
    end
  end
  many('HDEL', bank.procedures, out)
  many('RPUSH', bank.free, free)
  local slots = #fresh > 0 and redis.call('LPOP', bank.free, #fresh) or {}
  for place, procedure in ipairs(fresh) do
    procedure.slot = slots and tonumber(slots[place])
    if not procedure.slot then procedure.slot = count(bank.name .. 'slots', 1) - 1 end
  end
  local run, last = {}, nil
  local function write_run()
    if #run > 0 then put(last - #run + 1, table.concat(run)) end
    run = {}
  end
  for _, procedure in ipairs(bank.moved) do
    if procedure.entries > 0 then
      local shown, version, slot = procedure.solid > 0, procedure.version, procedure.slot
      if shown then procedure.number = procedure.number or count('procedure', 1) end
      local number = procedure.number or 0
      local row = struct.pack('>I8I4', number, version)
      if not procedure.stored then
        if last ~= slot - 1 or slot % ROWS == 0 then write_run() end
        run[#run + 1], last = row .. procedure.codes, slot
      elseif shown ~= procedure.shown or version ~= procedure.was then
        put(slot, row)
      end
      if shown and not procedure.shown then
        added[#added + 1] = struct.pack('>BI8I4', bank.sign - 1, number, version)
          .. procedure.codes
      elseif shown and version ~= procedure.was then
        touched[#touched + 1] = struct.pack('>BI8I4', bank.sign - 1, number, version)
      end
      values[#values + 1] = procedure.digest
      values[#values + 1] = struct.pack('>I8I4I4I4I4',
        number, procedure.entries, version, slot, procedure.solid)
    end
  end
  write_run()
  many('HSET', bank.procedures, values)
end
local function write_origins(bank)
  local out, values, counts = {}, {}, {}
  for _, origin in ipairs(bank.from) do
    if origin.entries > 0 then
      counts[#counts + 1] = origin.digest
      counts[#counts + 1] = struct.pack('>I4I4', origin.entries, origin.size)
      if not origin.stored then
        values[#values + 1] = origin.digest
        values[#values + 1] = payloads[origin.digest]
      end
    elseif origin.stored then
      out[#out + 1] = origin.digest
    end
  end
  many('HDEL', bank.origins, out)
  many('HDEL', bank.kept, out)
  many('HSET', bank.origins, values)
  many('HSET', bank.kept, counts)
end
local function write_bank(bank, added, touched, gone, tried)
  local out = {}
  for _, entry in ipairs(bank.dirty) do
    if not entry.alive and entry.stored then out[#out + 1] = entry.key end
  end
  many('HDEL', bank.entries, out)
  unfile(bank, bank.dirty)
  write_procedures(bank, added, touched, gone)
  write_origins(bank)
  local values = {}
  for _, entry in ipairs(bank.dirty) do
    if entry.alive then
      local procedure = bank.procedure[string.sub(entry.key, 1, 16)]
      local number = procedure and (procedure.number or 0) or entry.number
      values[#values + 1] = entry.key
      values[#values + 1] = struct.pack('>I4I4I8I4',
        entry.times, entry.version, number, entry.refused) .. entry.from
      if entry.solid then
        local action = string.sub(entry.key, 17)
        tried[#tried + 1] = struct.pack('>BI8I4I4I2',
          bank.sign - 1, number, entry.times, entry.refused, #action) .. action
      end
    elseif entry.told then
      local action = string.sub(entry.key, 17)
      tried[#tried + 1] = struct.pack('>BI8I4I4I2', bank.sign - 1, entry.told, 0, 0, #action)
        .. action
    end
  end
  many('HSET', bank.entries, values)
end
local function write(gone)
  local added, touched, tried = {}, {}, {}
  for _, bank in ipairs(banks) do write_bank(bank, added, touched, gone, tried) end
  if #added + #touched + #gone + #tried > 0 then
    local fields = {table.concat(added), table.concat(touched), table.concat(gone),
      table.concat(tried)}
    local size = #fields[1] + #fields[2] + #fields[3] + #fields[4]
    local mean = total('log_mean')
    count('log_mean', math.floor(mean == 0 and size or (size - mean) / 16))
    local kept = math.min(longest, math.max(8, math.floor(log_bytes / (total('log_mean') + 1))))
    redis.call('XADD', log, 'MAXLEN', '~', kept, string.format('%d-0', count('log', 1)),
      'w', width, 'a', fields[1], 't', fields[2], 'r', fields[3], 'o', fields[4])
  end
  write_ledger()
end
"""
)
"""KEYS: counters log, then the keys of M+ and of M- as `SignKeys.all` gives them. ARGV: width of
codes in bytes, most entries and most bytes a bank, retirement policy, submissions from which on an
entry is solid, longest log in batches and in bytes, epoch."""
