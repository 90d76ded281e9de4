-- Grant the lease of a resource if it is free.
local lease_key, fence, resources, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, boot, resource, request = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local holder, ttl, prefix, nonce, most = ARGV[5], tonumber(ARGV[6]), ARGV[7], ARGV[8], tonumber(ARGV[9])

local record, lost = settle(lease_key, fence, events, now, boot)
if record and record.state == 'live' then
  return answer(record.request == request and 'same' or 'held', lost, record, now)
end
if record and record.state == 'released' and record.request == request then
  -- A late copy of a request whose lease is given back already: a lease now would have no holder.
  return answer('ended', lost, record, now)
end
if not record and redis.call('SCARD', resources) >= most then
  return {'full', 0, '', resource, '', 0, 0}
end

local token = whole(redis.call('INCR', fence))
local granted = {
  lease = prefix .. token .. '~' .. nonce, resource = resource, request = request, holder = holder, token = token,
  ttl = whole(ttl), expires = whole(now + ttl), boot = boot, state = 'live',
}
for field, value in pairs(granted) do
  redis.call('HSET', lease_key, field, value)
end
redis.call('SADD', resources, resource)
note(events, 'granted', granted)
return answer('granted', lost, granted, now)
