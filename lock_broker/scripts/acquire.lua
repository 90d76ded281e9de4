-- Grant the lease of one of some resources: of the first that is free, in the order of choice. Else stand in line.
local resources, order, cursors = KEYS[4], KEYS[5], KEYS[6]
local request, nonce, holder, principal = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local ttl, mode, wait = tonumber(ARGV[8]), ARGV[9], ARGV[10] == '1'
local most, choice = tonumber(ARGV[11]), ARGV[12]
local SHOWN = 16

local candidates, lost = {}, 0
local room = redis.call('SCARD', resources) < most
for i = 0, #ARGV - 13 do
  local candidate = {key = KEYS[7 + 2 * i], fence = KEYS[8 + 2 * i], resource = ARGV[13 + i]}
  local document, ran_out = load(candidate.key, candidate.fence)
  lost = lost + ran_out
  if not document and room then
    candidate.new = true
    document = {resource = candidate.resource, epoch = EPOCH, used = 0, leases = {}, queue = {}}
  end
  if document then
    candidate.document = document
    candidate.place = find(document.queue, 'request', request)
    candidates[#candidates + 1] = candidate
  end
end
if #candidates == 0 then
  return reply('full', lost)
end

-- A request that comes again.
for _, candidate in ipairs(candidates) do
  local document = candidate.document
  local place = find(document.leases, 'request', request)
  local before = place and document.leases[place] or candidate.place and document.queue[candidate.place]
  if before and before.principal ~= principal then
    return reply('foreign', lost)
  elseif before and before.mode ~= mode then
    return reply('other', lost)
  elseif place then
    return reply('same', lost, {lease = view(document.resource, before)})
  end
  -- A late copy of a request whose lease has ended: a lease now would have no holder.
  local how = ended_request(candidate.key, request)
  if how then
    return reply('ended', lost, {how = how})
  end
end

local function earlier(one, other)
  if choice == 'least-recently-trained' and one.document.used ~= other.document.used then
    return one.document.used < other.document.used
  end
  return one.resource < other.resource
end
local kind = string.match(ARGV[13], '^[^/]*')
if choice == 'least-recently-trained' or choice == 'round-robin' then
  table.sort(candidates, earlier)
end
if choice == 'round-robin' then
  local last = redis.call('HGET', cursors, kind) or ''
  for _ = 1, #candidates do
    if candidates[1].resource > last then
      break
    end
    table.insert(candidates, table.remove(candidates, 1))
  end
end

local function leave(candidate)
  local place = find(candidate.document.queue, 'request', request)
  if place then
    table.remove(candidate.document.queue, place)
  end
  return place
end

local function grant(candidate)
  local document = candidate.document
  if candidate.new then
    redis.call('SETNX', candidate.fence, whole(FLOOR))
    redis.call('SADD', resources, candidate.resource)
  end
  local token = redis.call('INCR', candidate.fence)
  local lease = {
    lease = string.gsub(candidate.resource, '/', '~') .. '~' .. whole(token) .. '~' .. nonce, request = request,
    holder = holder, principal = principal, mode = mode, token = token, ttl = ttl, expires = NOW + ttl,
  }
  table.insert(document.leases, lease)
  if mode == 'exclusive' then
    document.used = redis.call('INCR', order)
  end
  if choice == 'round-robin' then
    redis.call('HSET', cursors, kind, candidate.resource)
  end
  for _, other in ipairs(candidates) do
    if leave(other) or other == candidate then
      save(other.key, other.document)
    end
  end
  note('granted', candidate.resource, lease)
  return reply('granted', lost, {lease = view(candidate.resource, lease)})
end

for _, candidate in ipairs(candidates) do
  if may_go(candidate.document, mode, candidate.place or #candidate.document.queue + 1) then
    return grant(candidate)
  end
end

local queued, busy = false, {}
for _, candidate in ipairs(candidates) do
  local document, place = candidate.document, candidate.place
  if wait then
    if not place and #document.queue < TICKETS then
      table.insert(document.queue, {request = request, holder = holder, principal = principal, mode = mode})
      place = #document.queue
    end
    if place then
      queued = true
      document.queue[place].dies = NOW + TICKET_MS
      save(candidate.key, document)
    end
  elseif leave(candidate) then
    save(candidate.key, document)
  end
  local soonest = document.leases[1]
  for _, lease in ipairs(document.leases) do
    soonest = lease.expires < soonest.expires and lease or soonest
  end
  busy[#busy + 1] = {
    resource = document.resource, holder = (soonest or document.queue[1]).holder, waiting = #document.queue,
    expires_in_ms = soonest and soonest.expires - NOW or 0,
  }
end
table.sort(busy, function(one, other) return one.expires_in_ms < other.expires_in_ms end)
busy[SHOWN + 1] = nil
return reply('held', lost, {queued = queued, busy = busy})
