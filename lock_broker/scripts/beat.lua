-- Without the common part. Show that the active host's brokers live; or take over from a host that no longer shows it.
local host, boot, seen = KEYS[1], ARGV[2], ARGV[4]
local active = redis.call('HMGET', host, 'boot', 'beat')
local beat = active[2] or '0'
if not active[1] or active[1] == boot or active[1] .. ' ' .. beat == seen then
  redis.call('HSET', host, 'boot', boot)
  return cjson.encode({outcome = 'active', beat = boot .. ' ' .. redis.call('HINCRBY', host, 'beat', 1)})
end
return cjson.encode({outcome = 'standing-by', beat = active[1] .. ' ' .. beat})
