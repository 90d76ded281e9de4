-- Let a live lease run for ttl from now.
local lease_key, fence, events = KEYS[1], KEYS[2], KEYS[3]
local now, boot, lease, token, ttl = tonumber(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])

local record, lost = settle(lease_key, fence, events, now, boot)
if not record or record.lease ~= lease then
  local newest = tonumber(redis.call('GET', fence) or '0')
  return {(record and token <= newest) and 'superseded' or 'unknown', lost, lease, '', '', token, 0}
end
if record.state ~= 'live' then
  return answer(record.state, lost, record, now)
end
record.expires = whole(now + ttl)
redis.call('HSET', lease_key, 'expires', record.expires, 'ttl', whole(ttl))
return answer('renewed', lost, record, now)
