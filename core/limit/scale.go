package limit

// How many outcomes move an adaptive limit by one.
const (
	successesUp  = 3
	failuresDown = 2
)

// scale is the adaptive limit of a key, guarded by Limiter.mu: between 1 and the
// limit that was set.
type scale struct {
	limit               int // in force
	successes, failures int // since the last step of their kind
}

// adapt counts an outcome and moves the limit when there were enough of them.
func (k *keyState) adapt(o Outcome) {
	s := &k.scale
	switch o {
	case Success:
		if s.successes++; s.successes == successesUp {
			s.successes = 0
			s.limit = min(s.limit+1, k.limit)
		}
	case Failure:
		if s.failures++; s.failures == failuresDown {
			s.failures = 0
			// One less than 50 would mean nothing to a key of which 6 are in use.
			s.limit = max(min(s.limit, k.inUse)-1, 1)
		}
	}
}

// setLimit sets the ceiling. A limit that has not been scaled down follows it up.
func (k *keyState) setLimit(n int) {
	if k.scale.limit == k.limit {
		k.scale.limit = n
	}
	k.limit = n
	k.scale.limit = min(k.scale.limit, n)
}
