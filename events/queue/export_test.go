package queue

import "time"

// SetHeartbeat makes the server tell readers more often that it is there.
func (q *Queue) SetHeartbeat(d time.Duration) { q.heartbeat = d }
