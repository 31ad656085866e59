"""What the server does for a bank as one step each, in Lua.

Values: an entry's counts are `>I4 times submitted, >I4 last version`; its record starts with the
codes; a procedure's value is `>I8 number, >I4 entries, >I4 last version`. The log's rows for the
replicas are `>B sign, >I8 number, >I4 last version, codes` (added), the same without codes
(touched), and `>B sign, >I8 number` (retired). All writes of a script happen or none.
"""

from __future__ import annotations

from shared_memory.connection import AtomicScript

_COMMON = """
local TOTALS = {'submitted', 'admitted', 'duplicates', 'retired', 'retired_submissions', 'bytes'}
local SIGNS = {'success', 'failure'}
local function new_totals()
  return {submitted=0, admitted=0, duplicates=0, retired=0, retired_submissions=0, bytes=0}
end
local function write_totals(counters, sign, totals)
  for _, name in ipairs(TOTALS) do
    if totals[name] ~= 0 then
      redis.call('HINCRBY', counters, SIGNS[sign] .. ':' .. name, totals[name])
    end
  end
end
local function write_log(counters, log, longest, width, added, touched, gone)
  if #added == 0 and #touched == 0 and #gone == 0 then return end
  local number = redis.call('HINCRBY', counters, 'log', 1)
  redis.call('XADD', log, 'MAXLEN', '~', longest, string.format('%d-0', number),
    'w', width, 'a', table.concat(added), 't', table.concat(touched), 'r', table.concat(gone))
end
local function retire(sign, keys, digest, width, totals, gone)
  local times = struct.unpack('>I4I4', redis.call('HGET', keys[1], digest))
  local record = redis.call('HGET', keys[2], digest)
  local codes = string.sub(record, 1, width)
  redis.call('HDEL', keys[1], digest)
  redis.call('HDEL', keys[2], digest)
  redis.call('ZREM', keys[3], digest)
  totals.retired = totals.retired + 1
  totals.retired_submissions = totals.retired_submissions + times
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
"""

PUSH = AtomicScript(
    _COMMON
    + """
local counters, episodes, requested, log, outcomes, plans = unpack(KEYS, 1, 6)
local banks = {{unpack(KEYS, 7, 10)}, {unpack(KEYS, 11, 14)}}
local at = 0
local function take() at = at + 1; return ARGV[at] end
local width, most, longest = tonumber(take()), tonumber(take()), take()
local known = redis.call('HGET', counters, 'width')
if not known then
  redis.call('HSET', counters, 'width', width, 'epoch', take())
else
  take()
  if tonumber(known) ~= width and width > 0 then
    if tonumber(known) == 0 then
      redis.call('HSET', counters, 'width', width)
    else
      return {'width', tonumber(known)}
    end
  end
end
local totals = {new_totals(), new_totals()}
local added, touched, gone = {}, {}, {}
local finished, doubled, asked, succeeded = 0, 0, 0, 0
for _ = 1, tonumber(take()) do
  local number, version, sign, event = take(), tonumber(take()), tonumber(take()), take()
  local procedures = tonumber(take())
  if redis.call('SETBIT', episodes, number, 1) == 1 then
    doubled = doubled + 1
    at = at + 3 * procedures
  else
    finished = finished + 1
    if sign == 1 then succeeded = succeeded + 1 end
    local keys, total = banks[sign], totals[sign]
    local fresh, again = 0, 0
    for _ = 1, procedures do
      local digest, codes, record = take(), take(), take()
      local counts = redis.call('HGET', keys[1], digest)
      local raised = true
      if counts then
        again = again + 1
        local times, last = struct.unpack('>I4I4', counts)
        raised = version > last
        if raised then
          last = version
          redis.call('ZADD', keys[3], version, digest)
        end
        redis.call('HSET', keys[1], digest, struct.pack('>I4I4', times + 1, last))
      else
        fresh = fresh + 1
        record = codes .. record
        redis.call('HSET', keys[1], digest, struct.pack('>I4I4', 1, version))
        redis.call('HSET', keys[2], digest, record)
        redis.call('ZADD', keys[3], version, digest)
        total.bytes = total.bytes + #record
      end
      if raised then
        local held = redis.call('HGET', keys[4], codes)
        if held then
          local index, entries, last = struct.unpack('>I8I4I4', held)
          if version > last then
            last = version
            touched[#touched + 1] = struct.pack('>BI8I4', sign - 1, index, last)
          end
          if not counts then entries = entries + 1 end
          redis.call('HSET', keys[4], codes, struct.pack('>I8I4I4', index, entries, last))
        else
          local index = redis.call('HINCRBY', counters, 'procedure', 1)
          redis.call('HSET', keys[4], codes, struct.pack('>I8I4I4', index, 1, version))
          total.bytes = total.bytes + #codes
          added[#added + 1] = struct.pack('>BI8I4', sign - 1, index, version) .. codes
        end
      end
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
  local over = redis.call('HLEN', keys[1]) - most
  if over > 0 and totals[sign].admitted > 0 then
    over = math.min(over, totals[sign].admitted + 1000)
    local oldest = redis.call('ZRANGE', keys[3], 0, over - 1)
    for _, digest in ipairs(oldest) do
      retire(sign, keys, digest, width, totals[sign], gone)
    end
  end
  write_totals(counters, sign, totals[sign])
end
for name, amount in pairs({finished=finished, succeeded=succeeded, requested=asked}) do
  if amount > 0 then redis.call('HINCRBY', counters, name, amount) end
end
if doubled > 0 then redis.call('HINCRBY', counters, 'doubled', doubled) end
write_log(counters, log, longest, width, added, touched, gone)
local function reply(t) return t.submitted, t.admitted, t.duplicates, t.retired end
local s1, a1, d1, r1 = reply(totals[1])
local s2, a2, d2, r2 = reply(totals[2])
return {finished, doubled, asked, s1, a1, d1, r1, s2, a2, d2, r2}
"""
)
"""KEYS: counters episodes requested log outcomes plans, then counts records ages procedures of
M+ and of M-. ARGV: width of codes in bytes, most entries a bank, longest log, epoch, then the
episodes (number, version, sign 1|2, event, procedures × (digest, codes, record)), then the plan
requests (task index, payload)."""

RETIRE = AtomicScript(
    _COMMON
    + """
local counters, log = KEYS[1], KEYS[2]
local keys = {unpack(KEYS, 3, 6)}
local sign, below, most, longest = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local width = tonumber(redis.call('HGET', counters, 'width') or 0)
local old = redis.call('ZRANGEBYSCORE', keys[3], '-inf', '(' .. below, 'LIMIT', 0, most)
local totals, gone = new_totals(), {}
for _, digest in ipairs(old) do retire(sign, keys, digest, width, totals, gone) end
write_totals(counters, sign, totals)
write_log(counters, log, longest, width, {}, {}, gone)
return #old
"""
)
"""KEYS: counters log, then counts records ages procedures of one bank. ARGV: sign 1|2, the
version below which entries go, most entries in this step, longest log."""
