-- Let a live lease run for ttl from now; never shorter than it would have run.
local key, fence = KEYS[4], KEYS[5]
local lease, token, principal, admin = ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7] == '1'
local ttl = tonumber(ARGV[8])

local document, lost = load(key, fence)
local place = document and find(document.leases, 'lease', lease)
if not place then
  return reply(ending(key, document, fence, lease, token), lost)
end
local held = document.leases[place]
if held.principal ~= principal and not admin then
  return reply('foreign', lost)
end
-- A call whose first answer was lost may be carried out after a newer one: then its NOW is the older one.
held.expires = math.max(held.expires, NOW + ttl)
held.ttl = held.expires - NOW
save(key, document)
note('renewed', document.resource, held)
return reply('renewed', lost, {lease = view(document.resource, held)})
