-- Before every script. A resource is a hash of two fields. `document` is JSON: its live leases, and who waits. `ended` is
-- the newest leases that ended, a line for each, newest first: its id, how it ended, and its request as a JSON string.
-- Nearly every call reads and writes the document, so it holds no more than it must.
--
-- Times are milliseconds of the broker host's boot clock, given by the caller: the server's own clock may jump.
--
-- Every script is called with KEYS: host, events, live, then its own, and with ARGV: now, boot, run, then its own.

local HOST, EVENTS, LIVE = KEYS[1], KEYS[2], KEYS[3]
local NOW, BOOT, EPOCH = tonumber(ARGV[1]), ARGV[2], ARGV[2] .. ':' .. ARGV[3]

local FREE = '{lk}:free'
local EVENTS_LENGTH = 100000
local TOMBSTONES, READERS, TICKETS = 32, 64, 256
local TICKET_MS = 3000
-- Added to a fence in a new epoch: a power cut may have lost the last second of the log, with tokens in it.
local GAP = 1000

-- One host's brokers at a time: the clocks of two are not comparable.
local host = redis.call('HMGET', HOST, 'boot', 'epoch', 'epochs')
if host[1] and host[1] ~= BOOT then
  return '{"outcome":"standby"}'
end
if host[2] ~= EPOCH then
  host[3] = redis.call('HINCRBY', HOST, 'epochs', 1)
  redis.call('HSET', HOST, 'boot', BOOT, 'epoch', EPOCH)
end
-- A resource whose very first lease the log has lost begins here.
local FLOOR = (tonumber(host[3]) - 1) * GAP

local function whole(number)
  return string.format('%d', number)
end

-- Write a line of the audit stream. ``lease`` has lease, holder, principal and token.
local function note(event, resource, lease, detail)
  redis.call('XADD', EVENTS, 'MAXLEN', '~', EVENTS_LENGTH, '*', 'event', event, 'resource', resource,
    'lease', lease.lease, 'holder', lease.holder, 'principal', lease.principal, 'token', whole(lease.token),
    'detail', detail or '')
end

-- Return the place of the first element whose ``field`` is ``value``, or nil.
local function find(list, field, value)
  for place, element in ipairs(list) do
    if element[field] == value then
      return place
    end
  end
  return nil
end

-- Say whether whoever stands at ``place`` of the queue may have a lease now. Who comes first goes first; readers go
-- together, but none passes a writer who came before.
local function may_go(document, mode, place)
  if mode == 'exclusive' then
    return place == 1 and #document.leases == 0
  end
  for before = 1, place - 1 do
    if document.queue[before].mode == 'exclusive' then
      return false
    end
  end
  return not find(document.leases, 'mode', 'exclusive') and #document.leases < READERS
end

-- Write a document back, and wake those who may go now.
local function save(key, document)
  redis.call('HSET', key, 'document', cjson.encode(document))
  local busy = #document.leases + #document.queue > 0
  redis.call(busy and 'SADD' or 'SREM', LIVE, document.resource)
  for place, ticket in ipairs(document.queue) do
    if not may_go(document, ticket.mode, place) then
      break
    end
    redis.call('PUBLISH', FREE, ticket.request)
  end
end

local function ended(key)
  return redis.call('HGET', key, 'ended') or ''
end

-- Say how the lease of a request ended, if it is one of the newest that did. A quote after a blank, or a line's end, is
-- nowhere inside a JSON string.
local function ended_request(key, request)
  local all = ended(key)
  local place = string.find(all, ' ' .. cjson.encode(request) .. '\n', 1, true)
  return place and string.match(string.sub(all, 1, place - 1), '%a+$')
end

-- Move the live lease at ``place`` to the ended ones.
local function bury(key, document, place, how)
  local lease = table.remove(document.leases, place)
  local all = lease.lease .. ' ' .. how .. ' ' .. cjson.encode(lease.request) .. '\n' .. ended(key)
  local last = 0
  for _ = 1, TOMBSTONES do
    last = last and string.find(all, '\n', last + 1, true)
  end
  redis.call('HSET', key, 'ended', string.sub(all, 1, last or -1))
  return lease
end

-- Nobody knows how long the host or the server was away: everything starts its full life again, never a shorter one.
local function rebase(document, fence)
  redis.call('INCRBY', fence, GAP)
  local same_clock = string.sub(document.epoch, 1, #BOOT + 1) == BOOT .. ':'
  document.epoch = EPOCH
  for _, lease in ipairs(document.leases) do
    lease.expires = math.max(NOW + lease.ttl, same_clock and lease.expires or 0)
    note('rebased', document.resource, lease)
  end
  for _, ticket in ipairs(document.queue) do
    ticket.dies = NOW + TICKET_MS
  end
end

-- Return a resource's document, brought up to now, or nil; and how many leases are seen here to have run out.
local function load(key, fence)
  local text = redis.call('HGET', key, 'document')
  if not text then
    return nil, 0
  end
  local document = cjson.decode(text)
  local changed, lost = document.epoch ~= EPOCH, 0
  if changed then
    rebase(document, fence)
  end
  for place = #document.leases, 1, -1 do
    if document.leases[place].expires <= NOW then
      note('expired', document.resource, bury(key, document, place, 'expired'))
      lost = lost + 1
    end
  end
  local waiting = #document.queue
  for place = waiting, 1, -1 do
    if document.queue[place].dies <= NOW then
      table.remove(document.queue, place)
    end
  end
  if changed or lost > 0 or #document.queue < waiting then
    save(key, document)
  end
  return document, lost
end

-- Say how a lease that is not live ended: released, expired, forced, superseded; or that there was none: unknown.
local function ending(key, document, fence, lease, token)
  local all = '\n' .. ended(key)
  local _, blank = string.find(all, '\n' .. lease .. ' ', 1, true)
  if blank then
    return string.match(all, '^%a+', blank + 1)
  end
  local newest = tonumber(redis.call('GET', fence) or '0')
  return (document and token <= newest) and 'superseded' or 'unknown'
end

-- A lease as the API shows it.
local function view(resource, lease)
  return {
    lease_id = lease.lease, resource = resource, holder = lease.holder, principal = lease.principal,
    mode = lease.mode, token = lease.token, expires_in_ms = lease.expires - NOW,
  }
end

local function reply(outcome, lost, rest)
  rest = rest or {}
  rest.outcome, rest.lost = outcome, lost
  return cjson.encode(rest)
end
