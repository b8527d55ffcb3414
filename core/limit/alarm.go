package limit

import "time"

// alarm is a timer of the limiter's own, nil when it is not armed. It is guarded
// by Limiter.mu and counted in Limiter.running, so that Close waits for it.
type alarm *time.Timer

// arm has fn called under mu after d. The alarm must not be armed.
func (l *Limiter) arm(a *alarm, d time.Duration, fn func()) {
	l.running++
	var timer *time.Timer // set before the function can have mu
	timer = time.AfterFunc(d, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		defer l.ended()
		if *a == timer { // not disarmed when it had fired already
			*a = nil
			fn()
		}
	})
	*a = timer
}

// disarm takes back an alarm, if it is armed.
func (l *Limiter) disarm(a *alarm) {
	timer := (*time.Timer)(*a)
	if timer == nil {
		return
	}
	*a = nil
	if timer.Stop() {
		l.ended()
	}
}
