-- Move a model's head to a new version: only for the holder of the live lease, and only from the head it started from.
local lease_key, fence, head_key, versions = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local requests, models, events = KEYS[5], KEYS[6], KEYS[7]
local now, boot, lease, token = tonumber(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4])
local expected, model, resource, request = tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8]
local document, history = ARGV[9], tonumber(ARGV[10])

local known = redis.call('HGET', requests, request)
if known then
  return {'same', 0, redis.call('HGET', versions, known), tonumber(known)}
end

local record, lost = settle(lease_key, fence, events, now, boot)
if not record or record.lease ~= lease or record.state ~= 'live' or tonumber(record.token) ~= token then
  return {'stale', lost, 'the lease is not held', 0}
end
local head = read(head_key) or {version = '0', token = '0', oldest = '1', resource = resource}
if head.resource ~= resource then
  return {'stale', lost, 'the model is written under the lease of ' .. head.resource, 0}
end
if token < tonumber(head.token) then
  return {'stale', lost, 'the head has a newer token', 0}
end
if tonumber(head.version) ~= expected then
  return {'moved', lost, '', tonumber(head.version)}
end

local version = expected + 1
local oldest = tonumber(head.oldest)
redis.call('HSET', versions, whole(version), document, whole(version) .. ':request', request)
redis.call('HSET', requests, request, whole(version))
while oldest <= version - history do
  local forgotten = redis.call('HGET', versions, whole(oldest) .. ':request')
  if forgotten then
    redis.call('HDEL', requests, forgotten)
  end
  redis.call('HDEL', versions, whole(oldest), whole(oldest) .. ':request')
  oldest = oldest + 1
end
redis.call('HSET', head_key, 'version', whole(version), 'token', whole(token), 'oldest', whole(oldest),
  'resource', resource)
redis.call('SADD', models, model)
note(events, 'committed', record)
return {'committed', lost, document, version}
