"""What the server does for a bank as one step each, in Lua.

Values: an entry's counts are `>I4 times submitted, >I4 last version, >I8 its procedure's number,
>I4 times refused`, then its action; its record starts with the codes; a procedure's value is
`>I8 number, >I4 entries, >I4 last version`. The log's rows for the replicas are `>B sign,
>I8 number, >I4 last version, codes` (added), the same without codes (touched), `>B sign,
>I8 number` (retired), and `>B sign, >I8 number, >I4 times submitted, >I4 times refused,
>I2 length, action` (tried: the counts after this step; 0 times where the entry was retired).
Which entries go first where a bank is full is the order of a sorted set: `ages` (last version), or
`order`, whose scores follow from the run's retirement policy; the first write fixes the policy.
All writes of a script happen or none. Entries written before counts held more than `>I4 >I4` are
completed when they come again.
"""

from __future__ import annotations

from shared_memory.connection import AtomicScript

_COMMON = """
local TOTALS = {'submitted', 'admitted', 'duplicates', 'retired', 'retired_submissions', 'bytes',
  'imported', 'imported_submissions', 'reencoded', 'merged'}
local SIGNS = {'success', 'failure'}
local function new_totals()
  local totals = {}
  for _, name in ipairs(TOTALS) do totals[name] = 0 end
  return totals
end
local function banks_from(first)
  return {{unpack(KEYS, first, first + 4)}, {unpack(KEYS, first + 5, first + 9)}}
end
local function policy_of(counters)
  return redis.call('HGET', counters, 'retirement') or 'oldest'
end
local function unfit(counters, width, epoch, policy)
  local known = redis.call('HGET', counters, 'width')
  if not known then
    redis.call('HSET', counters, 'width', width, 'epoch', epoch, 'retirement', policy)
    return
  end
  if policy_of(counters) ~= policy then return {'retirement', policy_of(counters)} end
  if tonumber(known) ~= width and width > 0 then
    if tonumber(known) ~= 0 then return {'width', tonumber(known)} end
    redis.call('HSET', counters, 'width', width)
  end
end
local function score(policy, digest, times, other, version)
  if policy == 'reservoir' then
    local high, low = struct.unpack('>I2I4', digest)
    return high * 4294967296 + low
  elseif policy == 'least_used' then
    return math.min(times, 2097151) * 2147483648 + version
  end
  return math.floor((times + 1) / (times + other + 2) * 1048576) * 2147483648 + version
end
local function place(policy, sign, banks, digest, times, version)
  redis.call('ZADD', banks[sign][3], version, digest)
  if policy == 'oldest' then return end
  local other = 0
  if policy == 'worst_outcome' then
    local counts = redis.call('HGET', banks[3 - sign][1], digest)
    if counts then
      local last
      other, last = struct.unpack('>I4I4', counts)
      redis.call('ZADD', banks[3 - sign][5],
        string.format('%.0f', score(policy, digest, other, times, last)), digest)
    end
  end
  redis.call('ZADD', banks[sign][5],
    string.format('%.0f', score(policy, digest, times, other, version)), digest)
end
local function write_totals(counters, sign, totals)
  for _, name in ipairs(TOTALS) do
    if totals[name] ~= 0 then
      redis.call('HINCRBY', counters, SIGNS[sign] .. ':' .. name, totals[name])
    end
  end
end
local function write_log(counters, log, longest, width, added, touched, gone, tried)
  if #added == 0 and #touched == 0 and #gone == 0 and #tried == 0 then return end
  local number = redis.call('HINCRBY', counters, 'log', 1)
  redis.call('XADD', log, 'MAXLEN', '~', longest, string.format('%d-0', number),
    'w', width, 'a', table.concat(added), 't', table.concat(touched), 'r', table.concat(gone),
    'o', table.concat(tried))
end
local function tried_row(sign, number, times, refused, action)
  return struct.pack('>BI8I4I4I2', sign - 1, number, times, refused, #action) .. action
end
local function keep_procedure(counters, sign, keys, codes, version, fresh, total, added, touched)
  local held = redis.call('HGET', keys[4], codes)
  if held then
    local number, entries, last = struct.unpack('>I8I4I4', held)
    if version > last then
      last = version
      touched[#touched + 1] = struct.pack('>BI8I4', sign - 1, number, last)
    end
    if fresh then entries = entries + 1 end
    redis.call('HSET', keys[4], codes, struct.pack('>I8I4I4', number, entries, last))
    return number
  end
  local number = redis.call('HINCRBY', counters, 'procedure', 1)
  redis.call('HSET', keys[4], codes, struct.pack('>I8I4I4', number, 1, version))
  total.bytes = total.bytes + #codes
  added[#added + 1] = struct.pack('>BI8I4', sign - 1, number, version) .. codes
  return number
end
local function forget(sign, keys, digest, counts, width, totals, gone, tried)
  if #counts > 8 then
    local _, _, number = struct.unpack('>I4I4I8', counts)
    tried[#tried + 1] = tried_row(sign, number, 0, 0, string.sub(counts, 21))
  end
  local record = redis.call('HGET', keys[2], digest)
  local codes = string.sub(record, 1, width)
  redis.call('HDEL', keys[1], digest)
  redis.call('HDEL', keys[2], digest)
  redis.call('ZREM', keys[3], digest)
  redis.call('ZREM', keys[5], digest)
  totals.bytes = totals.bytes - #record
  local number, entries, version =
    struct.unpack('>I8I4I4', redis.call('HGET', keys[4], codes))
  if entries > 1 then
    redis.call('HSET', keys[4], codes, struct.pack('>I8I4I4', number, entries - 1, version))
  else
    redis.call('HDEL', keys[4], codes)
    totals.bytes = totals.bytes - #codes
    gone[#gone + 1] = struct.pack('>BI8', sign - 1, number)
  end
end
local function retire(sign, keys, digest, width, totals, gone, tried)
  local counts = redis.call('HGET', keys[1], digest)
  forget(sign, keys, digest, counts, width, totals, gone, tried)
  totals.retired = totals.retired + 1
  totals.retired_submissions = totals.retired_submissions + struct.unpack('>I4', counts)
end
local function evict(policy, sign, keys, counters, width, most, most_bytes, total, gone, tried)
  local fresh = total.admitted + total.imported
  if fresh == 0 then return end
  local over = redis.call('HLEN', keys[1]) - most
  local held = tonumber(redis.call('HGET', counters, SIGNS[sign] .. ':bytes') or 0) - most_bytes
  local order, left = policy == 'oldest' and keys[3] or keys[5], fresh + 1000
  while left > 0 and (over > 0 or held + total.bytes > 0) do
    local first = redis.call('ZRANGE', order, 0, math.min(left, math.max(over, 16)) - 1)
    if #first == 0 then return end
    for _, digest in ipairs(first) do
      if over <= 0 and held + total.bytes <= 0 then return end
      retire(sign, keys, digest, width, total, gone, tried)
      over, left = over - 1, left - 1
    end
  end
end
"""

PUSH = AtomicScript(
    _COMMON
    + """
local counters, episodes, requested, log, outcomes, plans = unpack(KEYS, 1, 6)
local banks = banks_from(7)
local at = 0
local function take() at = at + 1; return ARGV[at] end
local width, most, most_bytes = tonumber(take()), tonumber(take()), tonumber(take())
local policy, longest = take(), take()
local wrong = unfit(counters, width, take(), policy)
if wrong then return wrong end
local totals = {new_totals(), new_totals()}
local added, touched, gone, tried = {}, {}, {}, {}
local finished, doubled, asked, succeeded = 0, 0, 0, 0
for _ = 1, tonumber(take()) do
  local number, version, sign, event = take(), tonumber(take()), tonumber(take()), take()
  local procedures = tonumber(take())
  if redis.call('SETBIT', episodes, number, 1) == 1 then
    doubled = doubled + 1
    at = at + 5 * procedures
  else
    finished = finished + 1
    if sign == 1 then succeeded = succeeded + 1 end
    local keys, total = banks[sign], totals[sign]
    local fresh, again = 0, 0
    for _ = 1, procedures do
      local digest, codes, record = take(), take(), take()
      local refused, action = tonumber(take()), take()
      local counts = redis.call('HGET', keys[1], digest)
      local raised, times, newest, index = true, 1, version, nil
      if counts then
        again = again + 1
        local before, last = struct.unpack('>I4I4', counts)
        times = before + 1
        raised = version > last
        if not raised then newest = last end
        if raised or policy ~= 'oldest' then
          place(policy, sign, banks, digest, times, newest)
        end
        if #counts > 8 then
          local _, _, number, no = struct.unpack('>I4I4I8I4', counts)
          index, refused = number, refused + no
        end
      else
        fresh = fresh + 1
        record = codes .. record
        redis.call('HSET', keys[2], digest, record)
        place(policy, sign, banks, digest, 1, version)
        total.bytes = total.bytes + #record
      end
      if raised or not index then
        index = keep_procedure(
          counters, sign, keys, codes, version, not counts, total, added, touched)
      end
      redis.call('HSET', keys[1], digest,
        struct.pack('>I4I4I8I4', times, newest, index, refused) .. action)
      tried[#tried + 1] = tried_row(sign, index, times, refused, action)
    end
    total.submitted = total.submitted + fresh + again
    total.admitted = total.admitted + fresh
    total.duplicates = total.duplicates + again
    local place = redis.call('HINCRBY', counters, 'outcomes', 1)
    redis.call('XADD', outcomes, string.format('%d-0', place),
      'k', 'episode', 'p', event, 'a', fresh, 'd', again)
  end
end
for _ = 1, tonumber(take()) do
  local index, request = take(), take()
  if redis.call('SETBIT', requested, index, 1) == 0 then
    asked = asked + 1
    redis.call('XADD', plans, '*', 'p', request)
  end
end
for sign = 1, 2 do
  local keys = banks[sign]
  evict(policy, sign, keys, counters, width, most, most_bytes, totals[sign], gone, tried)
  write_totals(counters, sign, totals[sign])
end
for name, amount in pairs({finished=finished, succeeded=succeeded, requested=asked}) do
  if amount > 0 then redis.call('HINCRBY', counters, name, amount) end
end
if doubled > 0 then redis.call('HINCRBY', counters, 'doubled', doubled) end
write_log(counters, log, longest, width, added, touched, gone, tried)
local function reply(t) return t.submitted, t.admitted, t.duplicates, t.retired end
local s1, a1, d1, r1 = reply(totals[1])
local s2, a2, d2, r2 = reply(totals[2])
return {finished, doubled, asked, s1, a1, d1, r1, s2, a2, d2, r2}
"""
)
"""KEYS: counters episodes requested log outcomes plans, then counts records ages procedures order
of M+ and of M-. ARGV: width of codes in bytes, most entries and most bytes a bank, retirement
policy, longest log, epoch, then the episodes (number, version, sign 1|2, event, procedures ×
(digest, codes, record, refused 0|1, action)), then the plan requests (task index, payload)."""

RETIRE = AtomicScript(
    _COMMON
    + """
local counters, log = KEYS[1], KEYS[2]
local keys = banks_from(3)[tonumber(ARGV[1])]
local sign, below, most, longest = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local width = tonumber(redis.call('HGET', counters, 'width') or 0)
local old = redis.call('ZRANGEBYSCORE', keys[3], '-inf', '(' .. below, 'LIMIT', 0, most)
local totals, gone, tried = new_totals(), {}, {}
for _, digest in ipairs(old) do retire(sign, keys, digest, width, totals, gone, tried) end
write_totals(counters, sign, totals)
write_log(counters, log, longest, width, {}, {}, gone, tried)
return #old
"""
)
"""KEYS: counters log, then both banks' as for PUSH. ARGV: sign 1|2, the version below which entries
go, most entries in this step, longest log."""

RESTORE = AtomicScript(
    _COMMON
    + """
local counters, log = KEYS[1], KEYS[2]
local banks = banks_from(3)
local at = 0
local function take() at = at + 1; return ARGV[at] end
local width, most, most_bytes = tonumber(take()), tonumber(take()), tonumber(take())
local policy, longest = take(), take()
local wrong = unfit(counters, width, take(), policy)
if wrong then return wrong end
local sign, guard, batch = tonumber(take()), take(), tonumber(take())
local keys = banks[sign]
if tonumber(redis.call('HGET', counters, guard) or -1) >= batch then return {'ok', 0, 0} end
local total, added, touched, gone, tried = new_totals(), {}, {}, {}, {}
local fresh, merged = 0, 0
for _ = 1, tonumber(take()) do
  local digest, codes, record = take(), take(), take()
  local times, refused = tonumber(take()), tonumber(take())
  local version, action = tonumber(take()), take()
  local counts = redis.call('HGET', keys[1], digest)
  total.imported_submissions = total.imported_submissions + times
  if counts then
    merged = merged + 1
    local before, last = struct.unpack('>I4I4', counts)
    times, version = before + times, math.max(version, last)
    if #counts > 8 then
      local _, _, _, no = struct.unpack('>I4I4I8I4', counts)
      refused = refused + no
    end
  else
    fresh = fresh + 1
    redis.call('HSET', keys[2], digest, record)
    total.bytes = total.bytes + #record
  end
  place(policy, sign, banks, digest, times, version)
  local number = keep_procedure(
    counters, sign, keys, codes, version, not counts, total, added, touched)
  redis.call('HSET', keys[1], digest,
    struct.pack('>I4I4I8I4', times, version, number, refused) .. action)
  tried[#tried + 1] = tried_row(sign, number, times, refused, action)
end
total.imported = fresh
redis.call('HSET', counters, guard, batch)
evict(policy, sign, keys, counters, width, most, most_bytes, total, gone, tried)
write_totals(counters, sign, total)
write_log(counters, log, longest, width, added, touched, gone, tried)
return {'ok', fresh, merged}
"""
)
"""KEYS: counters log, then both banks' as for PUSH. ARGV: as for PUSH up to the epoch, then sign
1|2, the guard's name and this batch's number (a batch that was taken in before changes nothing),
then the entries (digest, codes, record with its codes, times, refused, version, action)."""

REENCODE = AtomicScript(
    _COMMON
    + """
local counters, log = KEYS[1], KEYS[2]
local banks = banks_from(3)
local at = 0
local function take() at = at + 1; return ARGV[at] end
local width = tonumber(take())
take(); take()
local policy, longest = take(), take()
local wrong = unfit(counters, width, take(), policy)
if wrong then return wrong end
local sign, encoded = tonumber(take()), tonumber(take())
local keys = banks[sign]
local total, added, touched, gone, tried = new_totals(), {}, {}, {}, {}
local function settle(digest, codes, action, times, refused, version, fresh)
  place(policy, sign, banks, digest, times, version)
  local number = keep_procedure(
    counters, sign, keys, codes, version, fresh, total, added, touched)
  redis.call('HSET', keys[1], digest,
    struct.pack('>I4I4I8I4', times, version, number, refused) .. action)
  tried[#tried + 1] = tried_row(sign, number, times, refused, action)
end
local same, moving = 0, {}
for _ = 1, tonumber(take()) do
  local digest, new, codes, record, action = take(), take(), take(), take(), take()
  local counts = redis.call('HGET', keys[1], digest)
  local times, last, refused = 0, encoded, 0
  if counts then times, last = struct.unpack('>I4I4', counts) end
  if last < encoded then
    if #counts > 8 then refused = select(4, struct.unpack('>I4I4I8I4', counts)) end
    if new == digest then
      same = same + 1
      settle(new, codes, action, times, refused, encoded, false)
    else
      forget(sign, keys, digest, counts, width, total, gone, tried)
      total.reencoded = total.reencoded + 1
      moving[#moving + 1] = {new, codes, record, action, times, refused}
    end
  end
end
for _, entry in ipairs(moving) do
  local new, codes, record, action, times, refused = unpack(entry)
  local version, target = encoded, redis.call('HGET', keys[1], new)
  if target then
    total.merged = total.merged + 1
    local more, last = struct.unpack('>I4I4', target)
    times, version = times + more, math.max(encoded, last)
    if #target > 8 then refused = refused + select(4, struct.unpack('>I4I4I8I4', target)) end
    if last < encoded then
      total.bytes = total.bytes - redis.call('HSTRLEN', keys[2], new) + #record
      redis.call('HSET', keys[2], new, record)
    end
  else
    redis.call('HSET', keys[2], new, record)
    total.bytes = total.bytes + #record
  end
  settle(new, codes, action, times, refused, version, not target)
end
write_totals(counters, sign, total)
write_log(counters, log, longest, width, added, touched, gone, tried)
return {same, total.reencoded, total.merged}
"""
)
"""KEYS: counters log, then both banks' as for PUSH. ARGV: as for PUSH up to the epoch, then sign
1|2, the version that encoded, then the entries (digest, digest with the new codes, new codes,
record with them, action); entries that are gone, or were seen with that version, stay as they
are. All of them leave their places before the first takes its new one; an entry that none of them
is, and that version has not seen, gives its place up to the one that comes there."""
