-- Say how the newest leases of some resources stand; those that ran out are marked so on the way.
local events, now, boot = KEYS[1], tonumber(ARGV[1]), ARGV[2]
local found = {}
for i = 2, #KEYS, 2 do
  local record, lost = settle(KEYS[i], KEYS[i + 1], events, now, boot)
  if record then
    found[#found + 1] = answer(record.state, lost, record, now)
  end
end
return found
