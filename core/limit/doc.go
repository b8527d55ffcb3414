// Package limit admits work: a [Limiter] hands out leases on slots, and no key
// ever has more leases than its limit.
//
// A request names all the keys it counts against (the whole machine, a
// provider, a model, an agent) and is admitted when every one of them has room,
// on all of them at once. A request that has to wait is a small struct in a
// queue, not a goroutine. Work holds its lease from admission to its end,
// renews it while it lives, and gives it back exactly once however many times
// it tries.
//
// # Order
//
// Higher priority first, then first come, first served. Who cannot be admitted
// is passed over, so that one full agent does not hold up the others. High work
// that never stops coming does hold back Normal and Low work: that is what it
// asks for.
//
// Passing over could starve a request for several scarce keys, each of which is
// free now and then but never all together. A waiter to whom that has happened
// three times over (every key that was ever full has since been free) gets the
// next free slot of each of its keys kept for it, against those behind it. A
// waiter whose key simply stays full never reserves anything.
//
// # Flow
//
// Holders say how their work went ([Lease.Report]), and for the keys of its
// provider and its model the limiter draws two conclusions ([Flow]). A row of
// failures opens a circuit breaker: waiters keep their places but are not
// admitted, until after a while a probe at a time may try, and enough that
// succeed let all go again. And the limit in force moves, down with failures and
// up with successes, between 1 and the limit that was set, which it never
// exceeds. Waiting longer than a caller likes, and withdrawing, says nothing
// about a provider.
//
// While memory is short ([MemoryPressure]) Low requests wait.
//
// Nothing polls: a timer is armed only while somebody waits for what it brings.
//
// # Leases that nobody renews
//
// After MaxLease without [Lease.Renew] the holder is asked to end its work
// (Request.Expired). Only when that has returned is the slot free: a lost
// holder costs time, never the limit.
package limit
