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
local function many_of(key, names, first, size)
  if size <= CHUNK then
    return size > 0 and redis.call('HMGET', key, unpack(names, first, first + size - 1)) or {}
  end
  local found = {}
  for start = 0, size - 1, CHUNK do
    local some = math.min(CHUNK, size - start)
    local values = redis.call('HMGET', key, unpack(names, first + start, first + start + some - 1))
    for place = 1, some do found[start + place] = values[place] end
  end
  return found
end
local function quick_push(bank, batch, fresh_of)
  local n, rows, base = batch.size, batch.rows, batch.base
  if n == 0 then return end
  local values, code, sign = many_of(bank.entries, ARGV, base + 1, n), bank.sign - 1,
    string.char(bank.sign - 1)
  local out, o, f, ages, a, seen = {}, 0, #tried, {}, 0, total('seen')
  local fresh, place_of, fresh_count, wanted, latest, w, known = {}, {}, 0, {}, {}, 0, {}
  for row = 1, n do
    local key, value = ARGV[base + row], values[row]
    local times, version, refused, of = unpacked('>I4I4I4I2', rows, 45 * row - 44)
    local last = -1
    if value then
      local had, number, no
      had, last, number, no = unpacked('>I4I4I8I4', value)
      times, refused = had + times, no + refused
      out[o + 1], out[o + 2], o = key, pack('>I4I4I8I4c31',
        times, version > last and version or last, number, refused, sub(value, 21)), o + 2
      local action = sub(key, 17)
      tried[f + 1], tried[f + 2], f =
        pack('>BI8I4I4I2', code, number, times, refused, #action), action, f + 2
    end
    if version > last then
      seen = seen + 1
      ages[a + 1], ages[a + 2], a =
        format('%d', version * 4294967296 + seen % 4294967296), key, a + 2
      local digest = sub(key, 1, 16)
      local place = known[digest]
      if not place then
        w = w + 1
        place, known[digest], wanted[w], latest[w] = w, w, digest, version
      elseif version > latest[place] then
        latest[place] = version
      end
      if not value then
        fresh_count = fresh_count + 1
        fresh[fresh_count], place_of[fresh_count] = row, place
        fresh_of[of + 1] = fresh_of[of + 1] + 1
      end
    end
  end
  count('seen', seen - total('seen'))

  -- Procedures of new entries, and of those seen with a newer version.
  local had, entries, codes = many_of(bank.procedures, wanted, 1, w), {}, {}
  for place = 1, w do entries[place] = 0 end
  for i = 1, fresh_count do
    local place, row = place_of[i], fresh[i]
    entries[place] = entries[place] + 1
    codes[place] = had[place] or sub(batch.codes, (row - 1) * width + 1, row * width)
  end
  local unknown = 0
  for place = 1, w do
    if not had[place] then unknown = unknown + 1 end
  end
  local free = unknown > 0 and take_slots(bank, unknown, {}) or {}
  local slots, given, number_of = total(bank.name .. 'slots'), 0, total('procedure')
  local procedures, run, length, first, last, ad = {}, {}, 0, 0, -2, #added
  for place = 1, w do
    local version, value, number, slot, solid = latest[place], had[place], nil, nil, entries[place]
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
      number, slot = number_of, free[given]
      if not slot then slot, slots = slots, slots + 1 end
      local row = pack('>I8I4', number, version)
      if last ~= slot - 1 or slot % ROWS == 0 then
        if length > 0 then put(bank, first, concat(run, '', 1, length)) end
        length, first = 0, slot
      end
      run[length + 1], run[length + 2], length, last = row, codes[place], length + 2, slot
      added[ad + 1], added[ad + 2], added[ad + 3], ad = sign, row, codes[place], ad + 3
    end
    latest[place] = number
    procedures[2 * place - 1] = wanted[place]
    procedures[2 * place] = pack('>I8I4I4I4I4', number, count_of, version, slot, solid)
  end
  if length > 0 then put(bank, first, concat(run, '', 1, length)) end
  count('procedure', number_of - total('procedure'))
  count(bank.name .. 'slots', slots - total(bank.name .. 'slots'))
  many('HSET', bank.procedures, procedures)

  -- New entries and their origins.
  local size, from, origins, kept = (52 + width) * unknown, {}, {}, {}
  for i = 1, fresh_count do
    local row = fresh[i]
    local key, start, number = ARGV[base + row], 45 * row - 44, latest[place_of[i]]
    local times, version, refused = unpacked('>I4I4I4', rows, start)
    local digest = sub(rows, start + 18, start + 33)
    local origin = from[digest]
    if not origin then
      origins[#origins + 1] = digest
      origin = 0
    end
    from[digest] = origin + 1
    size = size + #key + 51
    out[o + 1], out[o + 2], o = key, pack('>I4I4I8I4c31',
      times, version, number, refused, sub(rows, start + 14, start + 44)), o + 2
    local action = sub(key, 17)
    tried[f + 1], tried[f + 2], f =
      pack('>BI8I4I4I2', code, number, times, refused, #action), action, f + 2
  end
  many('HSET', bank.entries, out)
  many('ZADD', bank.ages, ages)
  local before, records, k = many_of(bank.kept, origins, 1, #origins), {}, 0
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
  bank.bytes, bank.solid = bank.bytes + size, bank.solid + fresh_count
  write_sums(bank)
  if policy ~= 'oldest' then
    local order = {}
    for place = 1, o, 2 do
      local key, times, version = out[place], unpacked('>I4I4', out[place + 1])
      order[place], order[place + 1] = format('%d', score(key, times, version, 0)), key
    end
    many('ZADD', bank.order, order)
  end
end
"""
"""Goes after `bank_writing.WRITING`, and after `bank_scripts.PUSH` has read its arguments."""
