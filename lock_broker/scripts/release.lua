-- End a lease: given back by its holder, or taken away by an admin. One that has ended already stays as it ended.
local key, fence = KEYS[4], KEYS[5]
local lease, token, principal, admin = ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7] == '1'
local how, reason = ARGV[8], ARGV[9]

local document, lost = load(key, fence)
local place = document and find(document.leases, 'lease', lease)
if not place then
  return reply(ending(key, document, fence, lease, token), lost)
end
if document.leases[place].principal ~= principal and not admin then
  return reply('foreign', lost)
end
local given = bury(key, document, place, how)
if how == 'forced' then
  -- Whoever was put out must not pass a store that checks tokens, even before somebody else has a newer one.
  redis.call('INCR', fence)
end
save(key, document)
given.principal = principal
note(how, document.resource, given, reason)
return reply('freed', lost)
