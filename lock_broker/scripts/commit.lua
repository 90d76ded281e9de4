-- Move a model's head to a new version: only for the holder of the live lease, and only from the head it started from.
local key, fence, head_key, versions = KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local requests, models = KEYS[8], KEYS[9]
local lease, token, expected, model, resource = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], ARGV[8]
local request, text, history = ARGV[9], ARGV[10], tonumber(ARGV[11])

local known = redis.call('HGET', requests, request)
if known then
  return reply('same', 0, {text = redis.call('HGET', versions, known), version = tonumber(known)})
end

local document, lost = load(key, fence)
local place = document and find(document.leases, 'lease', lease)
local held = place and document.leases[place]
if not held or held.mode ~= 'exclusive' or held.token ~= token then
  return reply('stale', lost, {text = 'the lease is not held', version = 0})
end
local flat = redis.call('HMGET', head_key, 'version', 'token', 'oldest', 'resource')
local head = {version = flat[1] or '0', token = flat[2] or '0', oldest = flat[3] or '1', resource = flat[4] or resource}
if head.resource ~= resource then
  return reply('stale', lost, {text = 'the model is written under the lease of ' .. head.resource, version = 0})
end
if token < tonumber(head.token) then
  return reply('stale', lost, {text = 'the head has a newer token', version = 0})
end
if tonumber(head.version) ~= expected then
  return reply('moved', lost, {text = '', version = tonumber(head.version)})
end

local version = expected + 1
local oldest = tonumber(head.oldest)
redis.call('HSET', versions, whole(version), text, whole(version) .. ':request', request)
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
note('committed', resource, held, whole(version))
return reply('committed', lost, {text = text, version = version})
