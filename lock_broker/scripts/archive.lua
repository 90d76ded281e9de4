-- Close a model: no more commits, offered to nobody. Only for the holder of its live lease.
local key, fence, head_key = KEYS[4], KEYS[5], KEYS[6]
local lease, token, resource, request, principal = ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8]
local reason = ARGV[9]

local flat = redis.call('HMGET', head_key, 'resource', 'archived')
if flat[2] == request then
  return reply('same', 0, {text = ''})
end
local document, lost = load(key, fence)
local place = document and find(document.leases, 'lease', lease)
local held = place and document.leases[place]
if not flat[1] then
  return reply('unknown', lost, {text = 'no version of it has been committed'})
end
if not held or held.mode ~= 'exclusive' or held.token ~= token or flat[1] ~= resource then
  return reply('stale', lost, {text = 'the lease is not held'})
end
if held.principal ~= principal then
  return reply('foreign', lost, {text = 'the lease is ' .. held.principal .. "'s"})
end
if flat[2] then
  return reply('same', lost, {text = ''})
end
redis.call('HSET', head_key, 'archived', request)
note('archived', resource, held, reason)
return reply('archived', lost, {text = ''})
