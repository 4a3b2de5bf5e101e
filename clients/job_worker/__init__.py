"""The old pull worker's place at its control plane, with Triton's `generate` behind it.

The control plane changes nothing: same endpoints, same bodies, same rules. `docs/job-worker.md` has the contract, and
what differs from the old worker.

==================  ====================================================================
`settings`          what it is started with
`tasks`             what the control plane hands out, checked before any work
`errors`            what can go wrong, by what is to be done about it
`control_plane`     the four calls: next-task, presign, heartbeat, report
`storage`           photos in and videos out, by presigned URLs
`lease`             heartbeats that live as long as the work on a task
`retries`           what is tried again, and when
`handler`           one task: photo, video, upload, report
`worker`            the loops around it, and how they end
`observing`         metrics and progress
==================  ====================================================================
"""
