-- Pin a version, so that it is never forgotten, or unpin it.
local head_key, versions, requests, pins = KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local number, wanted, most, principal = ARGV[4], ARGV[5] == '1', tonumber(ARGV[6]), ARGV[7]

local flat = redis.call('HMGET', head_key, 'version', 'oldest', 'resource')
if tonumber(number) > tonumber(flat[1] or '0') then
  return reply('unknown', 0, {text = 'there is no version ' .. number})
end
if redis.call('HEXISTS', versions, number) == 0 then
  return reply('forgotten', 0, {text = 'version ' .. number .. ' is forgotten'})
end
if wanted == (redis.call('SISMEMBER', pins, number) == 1) then
  return reply('same', 0, {text = ''})
end
if wanted then
  if redis.call('SCARD', pins) >= most then
    return reply('full', 0, {text = whole(most) .. ' versions are pinned already'})
  end
  redis.call('SADD', pins, number)
else
  redis.call('SREM', pins, number)
  if tonumber(number) < tonumber(flat[2]) then
    -- Only its pin had kept it from being forgotten.
    redis.call('HDEL', requests, redis.call('HGET', versions, number .. ':request'))
    redis.call('HDEL', versions, number, number .. ':request')
  end
end
local nobody = {lease = '', holder = '', principal = principal, token = 0}
note(wanted and 'pinned' or 'unpinned', flat[3], nobody, number)
return reply('done', 0, {text = ''})
