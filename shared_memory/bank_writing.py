"""What every step of the server on a bank ends with, in Lua: order, room, and writing back.

Entries that were touched take their place in the order of what goes first; what is too much goes;
and what differs from what was read is written, with one batch of the log for the replicas. Its rows
are `B sign, I8 number, I4 last version, codes` (added: a look-up may find it from now on), the same
without codes (touched), `B sign, I8 number` (retired), and `B sign, I8 number, I4 times submitted,
I4 times refused, I2 length, action` (tried: the counts of a solid entry after this step; 0 times
where it is gone).
"""

from __future__ import annotations

WRITING = """
local function many(command, key, values)
  if #values > 0 then writes[#writes + 1] = {command, key, values = values} end
end
local KINDS = {HSET = 'hash', HDEL = 'hash', ZADD = 'zset', ZREM = 'zset', RPUSH = 'list',
  LPOP = 'list', SETRANGE = 'string', SETBIT = 'string', XADD = 'stream'}
local function commit()
  local known = {}
  for _, one in ipairs(writes) do
    local key = one[2]
    if not known[key] then
      local kind, wanted = redis.call('TYPE', key).ok, KINDS[one[1]]
      if kind ~= 'none' and kind ~= wanted then
        error(format('%s is damaged: it should be a %s, but is a %s', key, wanted, kind))
      end
      known[key] = true
    end
  end
  for _, one in ipairs(writes) do
    local values = one.values
    if values then
      for first = 1, #values, CHUNK do
        redis.call(one[1], one[2], unpack(values, first, math.min(first + CHUNK - 1, #values)))
      end
    else
      redis.call(unpack(one))
    end
  end
end
-- The next number of a stream that is numbered without gaps.
local looked = {}
local function next_of(stream, name)
  local number = format('%d-0', count(name, 1))
  if not looked[stream] and #redis.call('XRANGE', stream, number, '+', 'COUNT', 1) > 0 then
    error(format('%s is damaged: it is numbered further than is counted', stream))
  end
  looked[stream] = true
  return number
end

-- What goes first.
local function score(key, times, version, against)
  if policy == 'reservoir' then
    return tonumber(sub(redis.sha1hex(key), 1, 12), 16)
  elseif policy == 'least_used' then
    return math.min(times, 2097151) * 2147483648 + version
  end
  return math.floor((times + 1) / (times + against + 2) * 1048576) * 2147483648 + version
end
local function file(bank)
  local other, ages, n, seen = banks[3 - bank.sign], {}, 0, total('seen')
  local before = seen
  for _, entry in ipairs(bank.dirty) do
    if entry.alive and entry.filed ~= entry.version then
      entry.filed, seen = entry.version, seen + 1
      local place = entry.version * 4294967296 + seen % 4294967296
      ages[n + 1], ages[n + 2], n = format('%d', place), entry.key, n + 2
      if policy == 'oldest' then bank.places[entry.key] = place end
    end
  end
  many('ZADD', bank.ages, ages)
  count('seen', seen - before)
  if policy == 'oldest' then return end
  if policy == 'worst_outcome' then
    local keys = {}
    for place, entry in ipairs(bank.dirty) do keys[place] = entry.key end
    read_entries(other, keys)
  end
  local order, theirs = {}, {}
  local function into(list, of, entry, against)
    local place = score(entry.key, entry.times, entry.version, against)
    list[#list + 1] = format('%d', place)
    list[#list + 1] = entry.key
    of.places[entry.key] = place
  end
  for _, entry in ipairs(bank.dirty) do
    if entry.alive then
      local opposite = other.entry[entry.key]
      local known = opposite and opposite.alive
      into(order, bank, entry, known and opposite.times or 0)
      if known and policy == 'worst_outcome' then into(theirs, other, opposite, entry.times) end
    end
  end
  many('ZADD', bank.order, order)
  many('ZADD', other.order, theirs)
end
local function unfile(bank, entries)
  local keys = {}
  for _, entry in ipairs(entries) do
    if not entry.alive and entry.filed then
      entry.filed = false
      keys[#keys + 1] = entry.key
    end
  end
  many('ZREM', bank.ages, keys)
  if policy ~= 'oldest' then many('ZREM', bank.order, keys) end
end
local function sooner(one, other)
  if one[1] ~= other[1] then return one[1] < other[1] end
  local mine, theirs = one[2], other[2]
  for place = 1, math.min(#mine, #theirs) do -- bytes, as the server compares: `<` asks the locale
    local a, b = byte(mine, place), byte(theirs, place)
    if a ~= b then return a < b end
  end
  return #mine < #theirs
end
-- Gives the keys of a bank as they go: the places of this step, which are not written yet, among
-- those that are.
local function in_order(bank)
  local order, mine, m = policy == 'oldest' and bank.ages or bank.order, {}, 1
  for key, place in pairs(bank.places) do mine[#mine + 1] = {place, key} end
  table.sort(mine, sooner)
  local page, p, read_so_far = {}, 1, 0
  local function held(some)
    while true do
      if p > #page then
        page = redis.call('ZRANGE', order, read_so_far, read_so_far + some - 1, 'WITHSCORES')
        p, read_so_far = 1, read_so_far + some
        if #page == 0 then return end
      end
      if not bank.places[page[p]] then return {tonumber(page[p + 1]), page[p]} end
      p = p + 2
    end
  end
  return function(some)
    local theirs, ours = held(some), mine[m]
    if theirs and (not ours or sooner(theirs, ours)) then
      p = p + 2
      return theirs[2]
    end
    m = m + 1
    return ours and ours[2]
  end
end
local function make_room(bank, fresh)
  if fresh == 0 then return end
  local held, left = redis.call('HLEN', bank.entries), fresh + 1000
  local function too_much() return held + bank.more > most or bank.bytes > most_bytes end
  local next_key = too_much() and in_order(bank)
  while left > 0 and too_much() do
    local some = math.min(left, math.max(held + bank.more - most, 16))
    local first, entries, strays = {}, {}, {}
    for place = 1, some do first[place] = next_key(some) end
    if #first == 0 then return end
    read_entries(bank, first)
    for _, key in ipairs(first) do
      local entry = bank.entry[key]
      local list = entry and entries or strays
      list[#list + 1] = entry or {key = key, filed = 0}
    end
    unfile(bank, strays)
    read_around(bank, entries)
    for _, entry in ipairs(entries) do
      if not too_much() then break end
      retire(bank, entry)
      left = left - 1
    end
  end
end

-- Writing back.
local added, touched, tried = {}, {}, {}
local function put(bank, slot, bytes)
  local key = format('%s:%d', bank.segment, math.floor(slot / ROWS))
  later('SETRANGE', key, slot % ROWS * (12 + width), bytes)
end
local function take_slots(bank, most_slots, freed)
  local given = redis.call('LRANGE', bank.free, 0, most_slots - 1)
  for _, slot in ipairs(freed) do
    if #given < most_slots then given[#given + 1] = slot end
  end
  for place, slot in ipairs(given) do
    given[place] = tonumber(slot) or error(bank.free .. ' is damaged: it has what is no slot')
  end
  if #given > 0 then later('LPOP', bank.free, #given) end
  return given
end
local function give_slots(bank)
  local out, free, fresh = {}, {}, {}
  for _, procedure in ipairs(bank.moved) do
    if procedure.entries > 0 then
      if not procedure.stored then fresh[#fresh + 1] = procedure end
    elseif procedure.stored then
      out[#out + 1] = procedure.digest
      free[#free + 1] = procedure.slot
      put(bank, procedure.slot, '\\0\\0\\0\\0\\0\\0\\0\\0')
    end
  end
  many('HDEL', bank.procedures, out)
  many('RPUSH', bank.free, free)
  if #fresh == 0 then return end
  local given, name = take_slots(bank, #fresh, free), bank.name .. 'slots'
  local next = total(name)
  count(name, #fresh - #given)
  for place, procedure in ipairs(fresh) do
    procedure.slot = given[place] or next + place - #given - 1
  end
end
local function write_procedures(bank)
  give_slots(bank)
  local values, n, run, length, first, last = {}, 0, {}, 0, 0, -2
  local sign, number_of, before = string.char(bank.sign - 1), total('procedure'), total('procedure')
  for _, procedure in ipairs(bank.moved) do
    if procedure.entries > 0 then
      local version, slot, shown = procedure.version, procedure.slot, procedure.solid > 0
      if shown and not procedure.number then
        number_of = number_of + 1
        procedure.number = number_of
      end
      local number, codes = procedure.number or 0, procedure.codes
      local row = pack('>I8I4', number, version)
      if not procedure.stored then
        if last ~= slot - 1 or slot % ROWS == 0 then
          if length > 0 then put(bank, first, concat(run, '', 1, length)) end
          length, first = 0, slot
        end
        run[length + 1], run[length + 2], length, last = row, codes, length + 2, slot
      elseif shown ~= procedure.shown or version ~= procedure.was then
        put(bank, slot, row)
      end
      if shown and not procedure.shown then
        local a = #added
        added[a + 1], added[a + 2], added[a + 3] = sign, row, codes
      elseif shown and version ~= procedure.was then
        touched[#touched + 1] = sign .. row
      end
      values[n + 1] = procedure.digest
      values[n + 2] = pack('>I8I4I4I4I4', number, procedure.entries, version, slot, procedure.solid)
      n = n + 2
    end
  end
  if length > 0 then put(bank, first, concat(run, '', 1, length)) end
  count('procedure', number_of - before)
  many('HSET', bank.procedures, values)
end
local function write_origins(bank)
  local out, values, counts = {}, {}, {}
  for _, origin in ipairs(bank.from) do
    if origin.entries > 0 then
      counts[#counts + 1] = origin.digest
      counts[#counts + 1] = pack('>I4I4', origin.entries, origin.size)
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
local function write_sums(bank)
  count(bank.name .. 'bytes', bank.bytes - total(bank.name .. 'bytes'))
  count(bank.name .. 'solid', bank.solid - total(bank.name .. 'solid'))
end
local function write_bank(bank)
  local out, values, n, t = {}, {}, 0, #tried
  for _, entry in ipairs(bank.dirty) do
    if not entry.alive and entry.stored then out[#out + 1] = entry.key end
  end
  many('HDEL', bank.entries, out)
  unfile(bank, bank.dirty)
  write_procedures(bank)
  write_origins(bank)
  for _, entry in ipairs(bank.dirty) do
    local key, number, times, refused = entry.key, entry.told, 0, 0
    if entry.alive then
      local procedure = bank.procedure[sub(key, 1, 16)]
      number, times, refused = entry.number, entry.times, entry.refused
      if procedure then number = procedure.number or 0 end
      values[n + 1] = key
      values[n + 2] = pack('>I4I4I8I4I4c27',
        times, entry.version, number, refused, entry.book, entry.detail)
      n = n + 2
      if not entry.solid then number = false end
    end
    if number then
      local action = sub(key, 17)
      tried[t + 1] = pack('>BI8I4I4I2', bank.sign - 1, number, times, refused, #action)
      tried[t + 2] = action
      t = t + 2
    end
  end
  many('HSET', bank.entries, values)
  write_sums(bank)
end
local function write()
  for _, bank in ipairs(banks) do
    if #bank.dirty > 0 then write_bank(bank) end
  end
  if #added + #touched + #gone + #tried > 0 then
    local a, t, r, o = concat(added), concat(touched), concat(gone),
      concat(tried)
    local size, mean = #a + #t + #r + #o, total('log_mean')
    count('log_mean', math.floor(mean == 0 and size or (size - mean) / 16))
    local kept = math.min(longest, math.max(8, math.floor(log_bytes / (total('log_mean') + 1))))
    -- A batch names itself and the one before it, so that a history that was lost is told apart.
    local before, clock = total('stamp'), redis.call('TIME')
    count('stamp', clock[1] * 1000000 + clock[2] - before)
    later('XADD', log, 'MAXLEN', '~', kept, next_of(log, 'log'), 'w', width,
      'a', a, 't', t, 'r', r, 'o', o,
      's', format('%d', total('stamp')), 'b', format('%d', before))
  end
  local values = {}
  for name in pairs(changed) do
    values[#values + 1] = name
    values[#values + 1] = format('%d', ledger[name])
  end
  many('HSET', counters, values)
  commit()
end
"""
"""Goes after `bank_step.STEP`."""
