-- Say how some resources stand; leases that ran out are noticed on the way.
local seen, lost = {}, 0
for i = 4, #KEYS, 2 do
  local document, ran_out = load(KEYS[i], KEYS[i + 1])
  lost = lost + ran_out
  if document then
    local leases, waiting = {}, {}
    for _, lease in ipairs(document.leases) do
      leases[#leases + 1] = view(document.resource, lease)
    end
    for _, ticket in ipairs(document.queue) do
      waiting[#waiting + 1] = {holder = ticket.holder, principal = ticket.principal, mode = ticket.mode}
    end
    seen[#seen + 1] = {
      resource = document.resource, token = tonumber(redis.call('GET', KEYS[i + 1])), leases = leases,
      waiting = waiting, ended = ended(KEYS[i]),
    }
  end
end
return reply('seen', lost, {resources = seen})
