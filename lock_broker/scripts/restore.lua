-- Open an archived model again.
local head_key, principal = KEYS[4], ARGV[4]

local resource = redis.call('HGET', head_key, 'resource')
if not resource then
  return reply('unknown', 0, {text = 'no version of it has been committed'})
end
if redis.call('HDEL', head_key, 'archived') == 0 then
  return reply('same', 0, {text = ''})
end
note('restored', resource, {lease = '', holder = '', principal = principal, token = 0})
return reply('restored', 0, {text = ''})
