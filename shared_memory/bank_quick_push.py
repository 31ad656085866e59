"""A push to banks that have room, in Lua: the usual case, in lists instead of a table an entry.

Does what `bank_scripts.PUSH` does otherwise, in less than half the time, where nothing has to go,
entries count at once, and the order of what goes first needs no look at the other bank.
"""

from __future__ import annotations

QUICK_PUSH = """
local function fits(submitted, payload)
  if policy == 'worst_outcome' or solid_after > 1 then return false end
  for sign, bank in ipairs(banks) do
    local many = submitted[sign]
    if many > 0 and (redis.call('HLEN', bank.entries) + many > most
        or bank.bytes + payload + many * (51 + 52 + width) > most_bytes) then
      return false
    end
  end
  return true
end
-- Submissions of the same entry are one row: first place in ARGV, times, version, refused, and the
-- episode that has the first.
local function rows_of(sign)
  local index, keys, places, times, versions, refused, of = {}, {}, {}, {}, {}, {}, {}
  local n = 0
  for number, episode in ipairs(counted) do
    if episode[3] == sign then
      local version = episode[2]
      for place = episode[1] + 1, episode[1] + 3 * episode[5], 3 do
        local key = ARGV[place]
        local row = index[key]
        if not row then
          n = n + 1
          row, index[key], keys[n], places[n], of[n] = n, n, key, place, number
          times[n], versions[n], refused[n] = 1, version, 0
        else
          times[row] = times[row] + 1
          if version > versions[row] then versions[row] = version end
        end
        if byte(ARGV[place + 2], 19) == 0 then refused[row] = refused[row] + 1 end
      end
    end
  end
  return n, keys, places, times, versions, refused, of
end
local function many_of(key, names, size)
  local found = {}
  for first = 1, size, CHUNK do
    local last = math.min(first + CHUNK - 1, size)
    local values = redis.call('HMGET', key, unpack(names, first, last))
    if size <= CHUNK then return values end
    for place = first, last do found[place] = values[place - first + 1] end
  end
  return found
end
local function quick_push(bank, fresh_of)
  local n, keys, places, times, versions, refused, of = rows_of(bank.sign)
  if n == 0 then return end
  local values = many_of(bank.entries, keys, n)
  local sign, seen, new = string.char(bank.sign - 1), total('seen'), {}
  local out, o, ages, a, fresh = {}, 0, {}, 0, 0
  local numbers, wanted, raised, w, known = {}, {}, {}, 0, {}
  for row = 1, n do
    local value, version = values[row], versions[row]
    local before = -1
    if value then
      local had, last, number, no = unpacked('>I4I4I8I4', value)
      times[row], refused[row], numbers[row] = had + times[row], no + refused[row], number
      before = last
      if last > version then version, versions[row] = last, last end
    else
      fresh = fresh + 1
      new[fresh] = row
      fresh_of[of[row]] = fresh_of[of[row]] + 1
    end
    if version > before then
      seen = seen + 1
      ages[a + 1] = format('%d', version * 4294967296 + seen % 4294967296)
      ages[a + 2], a = keys[row], a + 2
      local digest = sub(keys[row], 1, 16)
      local place = known[digest]
      if not place then
        w = w + 1
        place, known[digest], wanted[w], raised[w] = w, w, digest, version
      elseif version > raised[place] then
        raised[place] = version
      end
      if not value then numbers[row] = -place end
    end
  end
  count('seen', seen - total('seen'))

  -- Procedures of new entries, and of those seen with a newer version.
  local had, entries, codes = many_of(bank.procedures, wanted, w), {}, {}
  for place = 1, w do entries[place] = 0 end
  for f = 1, fresh do
    local row = new[f]
    local place = -numbers[row]
    entries[place] = entries[place] + 1
    codes[place] = ARGV[places[row] + 1]
  end
  local unknown = 0
  for place = 1, w do
    if not had[place] then unknown = unknown + 1 end
  end
  local free = unknown > 0 and redis.call('LPOP', bank.free, unknown) or {}
  local slots, given, number_of = total(bank.name .. 'slots'), 0, total('procedure')
  local procedures, run, length, first, last, ad = {}, {}, 0, 0, -2, #added
  for place = 1, w do
    local version, value, number, slot, solid = raised[place], had[place], nil, nil, entries[place]
    local count_of = solid
    if value then
      local old, old_version, old_solid
      number, old, old_version, slot, old_solid = unpacked('>I8I4I4I4I4', value)
      count_of, solid = old + count_of, old_solid + solid
      if version > old_version then
        local row = pack('>I8I4', number, version)
        put(bank, slot, row)
        touched[#touched + 1] = sign .. row
      else
        version = old_version
      end
    else
      given, number_of = given + 1, number_of + 1
      number, slot = number_of, tonumber(free[given])
      if not slot then slot, slots = slots, slots + 1 end
      local row = pack('>I8I4', number, version)
      if last ~= slot - 1 or slot % ROWS == 0 then
        if length > 0 then put(bank, first, concat(run, '', 1, length)) end
        length, first = 0, slot
      end
      run[length + 1], run[length + 2], length, last = row, codes[place], length + 2, slot
      added[ad + 1], added[ad + 2], added[ad + 3], ad = sign, row, codes[place], ad + 3
    end
    raised[place] = number
    procedures[2 * place - 1] = wanted[place]
    procedures[2 * place] = pack('>I8I4I4I4I4', number, count_of, version, slot, solid)
  end
  if length > 0 then put(bank, first, concat(run, '', 1, length)) end
  count('procedure', number_of - total('procedure'))
  count(bank.name .. 'slots', slots - total(bank.name .. 'slots'))
  many('HSET', bank.procedures, procedures)

  -- Entries and their origins.
  local size, from, origins, kept, f = (52 + width) * unknown, {}, {}, {}, #tried
  for row = 1, n do
    local key, value, number = keys[row], values[row], numbers[row]
    if value then
      value = pack('>I4I4I8I4c31', times[row], versions[row], number, refused[row], sub(value, 21))
    else
      local place = places[row]
      local detail = ARGV[place + 2]
      local digest = sub(detail, 1, 16)
      number = raised[-number]
      value = pack('>I4I4I8I4I4c27', times[row], versions[row], number, refused[row],
        counted[of[row]][2], detail)
      size = size + #key + 51
      local origin = from[digest]
      if not origin then
        origins[#origins + 1] = digest
        origin = 0
      end
      from[digest] = origin + 1
    end
    out[o + 1], out[o + 2], o = key, value, o + 2
    local action = sub(key, 17)
    tried[f + 1] = pack('>BI8I4I4I2', bank.sign - 1, number, times[row], refused[row], #action)
    tried[f + 2], f = action, f + 2
  end
  many('HSET', bank.entries, out)
  many('ZADD', bank.ages, ages)
  local before, records, k = many_of(bank.kept, origins, #origins), {}, 0
  for place, digest in ipairs(origins) do
    local held, bytes = 0, #payloads[digest]
    if before[place] then
      held, bytes = unpacked('>I4I4', before[place])
    else
      size = size + 24 + bytes
      records[k + 1], records[k + 2], k = digest, payloads[digest], k + 2
    end
    kept[2 * place - 1], kept[2 * place] = digest, pack('>I4I4', held + from[digest], bytes)
  end
  many('HSET', bank.origins, records)
  many('HSET', bank.kept, kept)
  bank.bytes, bank.solid = bank.bytes + size, bank.solid + fresh
  write_sums(bank)
  if policy ~= 'oldest' then
    local order = {}
    for row = 1, n do
      order[2 * row - 1] = format('%d', score(keys[row], times[row], versions[row], 0))
      order[2 * row] = keys[row]
    end
    many('ZADD', bank.order, order)
  end
end
"""
"""Goes after `bank_writing.WRITING`; `counted` are the episodes: last place in ARGV before their
procedures, version, sign, event, procedures."""
