-- Shared by all scripts. A resource has one record, a hash: that of its newest lease, live or ended.
-- Times are milliseconds of the broker host's boot clock, given by the caller: the server's own clock may jump.

local EVENTS_LENGTH = 100000
-- Added to a fence when the host has rebooted: a power cut may have lost the last second of the log, with a token in it.
local REBOOT_GAP = 1000

local function whole(number)
  return string.format('%d', number)
end

local function note(events, event, record)
  redis.call('XADD', events, 'MAXLEN', '~', EVENTS_LENGTH, '*', 'event', event, 'lease', record.lease,
    'holder', record.holder, 'token', record.token)
end

local function read(key)
  local flat = redis.call('HGETALL', key)
  if #flat == 0 then
    return nil
  end
  local record = {}
  for i = 1, #flat, 2 do
    record[flat[i]] = flat[i + 1]
  end
  return record
end

-- Bring a resource's record up to now. Returns it, and 1 if its lease is seen here for the first time to have run out.
local function settle(key, fence, events, now, boot)
  local record = read(key)
  if not record then
    return nil, 0
  end
  if record.boot ~= boot then
    -- Nobody knows how long the host was away: a live lease starts its full life again, never a shorter one.
    redis.call('INCRBY', fence, REBOOT_GAP)
    record.boot = boot
    if record.state == 'live' then
      record.expires = whole(now + tonumber(record.ttl))
      note(events, 'rebased', record)
    end
    redis.call('HSET', key, 'boot', boot, 'expires', record.expires)
  end
  if record.state == 'live' and tonumber(record.expires) <= now then
    record.state = 'expired'
    redis.call('HSET', key, 'state', 'expired')
    note(events, 'expired', record)
    return record, 1
  end
  return record, 0
end

local function answer(outcome, lost, record, now)
  local remaining = 0
  if record.state == 'live' then
    remaining = tonumber(record.expires) - now
  end
  return {outcome, lost, record.lease, record.resource, record.holder, tonumber(record.token), remaining}
end
