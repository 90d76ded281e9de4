-- Move a model's head to a new version: only for the holder of the live lease, and only from the head it started from.
-- A rollback is the same with ``restores``: the older version whose checkpoint and card ``text`` repeats.
local key, fence, head_key, versions = KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local requests, pins, models = KEYS[8], KEYS[9], KEYS[10]
local lease, token, expected, model, resource = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], ARGV[8]
local request, text, history, principal = ARGV[9], ARGV[10], tonumber(ARGV[11]), ARGV[12]
local restores, reason = tonumber(ARGV[13]), ARGV[14]

local known = redis.call('HGET', requests, request)
if known then
  return reply('same', 0, {text = redis.call('HGET', versions, known), version = tonumber(known)})
end

local document, lost = load(key, fence)
local place = document and find(document.leases, 'lease', lease)
local held = place and document.leases[place]
local function refuse(outcome, why, version)
  return reply(outcome, lost, {text = why, version = version or 0})
end
if not held or held.mode ~= 'exclusive' or held.token ~= token then
  return refuse('stale', 'the lease is not held')
end
if held.principal ~= principal then
  return refuse('foreign', 'the lease is ' .. held.principal .. "'s")
end
local flat = redis.call('HMGET', head_key, 'version', 'token', 'oldest', 'resource', 'archived')
local head = {version = tonumber(flat[1] or '0'), token = tonumber(flat[2] or '0'), oldest = tonumber(flat[3] or '1')}
if (flat[4] or resource) ~= resource then
  return refuse('stale', 'the model is written under the lease of ' .. flat[4])
end
if token < head.token then
  return refuse('stale', 'the head has a newer token')
end
if flat[5] then
  return refuse('archived', 'the model is archived')
end
if head.version ~= expected then
  return refuse('moved', 'the head is version ' .. whole(head.version) .. ', not ' .. whole(expected), head.version)
end
if restores > 0 then
  -- Without a text it was not there yet when the broker looked.
  if restores > head.version or (text == '' and redis.call('HEXISTS', versions, whole(restores)) == 1) then
    return refuse('unknown', 'there is no version ' .. whole(restores))
  elseif redis.call('HEXISTS', versions, whole(restores)) == 0 then
    return refuse('forgotten', 'version ' .. whole(restores) .. ' is forgotten')
  elseif restores == head.version then
    return refuse('current', 'version ' .. whole(restores) .. ' is the head', head.version)
  end
end

local version = expected + 1
-- Put before the rest of the document by hand: decoding it here would lose what Lua cannot tell apart, [] and {}.
text = '{"by":' .. cjson.encode(held.holder) .. ',' .. string.sub(text, 2)
redis.call('HSET', versions, whole(version), text, whole(version) .. ':request', request)
redis.call('HSET', requests, request, whole(version))
local oldest = head.oldest
while oldest <= version - history do
  if redis.call('SISMEMBER', pins, whole(oldest)) == 0 then
    local forgotten = redis.call('HGET', versions, whole(oldest) .. ':request')
    if forgotten then
      redis.call('HDEL', requests, forgotten)
    end
    redis.call('HDEL', versions, whole(oldest), whole(oldest) .. ':request')
  end
  oldest = oldest + 1
end
redis.call('HSET', head_key, 'version', whole(version), 'token', whole(token), 'oldest', whole(oldest),
  'resource', resource)
redis.call('SADD', models, model)
if restores > 0 then
  note('rolled-back', resource, held, whole(version) .. ' restores ' .. whole(restores) .. ': ' .. reason)
else
  note('committed', resource, held, whole(version))
end
return reply('committed', lost, {text = text, version = version})
