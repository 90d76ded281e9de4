-- Take a request's tickets out of the queues of some resources.
local request = ARGV[4]
for i = 4, #KEYS, 2 do
  local document = load(KEYS[i], KEYS[i + 1])
  local place = document and find(document.queue, 'request', request)
  if place then
    table.remove(document.queue, place)
    save(KEYS[i], document)
  end
end
return reply('withdrawn', 0)
