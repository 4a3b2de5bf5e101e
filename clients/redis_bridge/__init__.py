"""The old inpainting worker's place at its Redis queues, with Triton behind it.

Producers and consumers change nothing: same lists, same payloads, same shared memory, same hash with the answer. What
is new is that nothing is lost, and that Triton batches. `docs/redis-bridge.md` has the contract.

==================  ====================================================================
`settings`          what it is started with
`tasks`             payloads in, answers out
`segments`          the producers' and the consumers' shared memory
`geometry`          from the padded page back to the original one
`handler`           one task: read, inpaint, answer
`queues`            lists in Redis: take, hold, finish, take over from the dead
`stream`            the same with a Redis stream and encoded bytes: the interface for new producers
`bridge`            the loops around them, and how they end
`observing`         metrics and log lines
==================  ====================================================================
"""
