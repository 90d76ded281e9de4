-- Give a lease back. One that has ended already stays as it ended.
local lease_key, fence, events = KEYS[1], KEYS[2], KEYS[3]
local now, boot, lease, token = tonumber(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4])

local record, lost = settle(lease_key, fence, events, now, boot)
if not record or record.lease ~= lease then
  local newest = tonumber(redis.call('GET', fence) or '0')
  return {(record and token <= newest) and 'superseded' or 'unknown', lost, lease, '', '', token, 0}
end
if record.state == 'live' then
  record.state = 'released'
  redis.call('HSET', lease_key, 'state', 'released')
  note(events, 'released', record)
  return answer('freed', lost, record, now)
end
return answer(record.state, lost, record, now)
