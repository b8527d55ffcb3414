package limit

import (
	"fmt"
	"testing"
)

// line returns a limiter with n tickets in line over the given number of groups,
// in order of arrival; the first has the only slot.
func line(b *testing.B, n, groups int) (*Limiter, []*Ticket, func(i int) []Key) {
	l := start(b, Options{Limits: map[Key]int{{}: 1}})
	sets := make([][]Key, groups)
	for i := range sets {
		sets[i] = []Key{{}, ForProvider("p"), ForModel("p", "m"), ForAgent(fmt.Sprint("a", i))}
	}
	keys := func(i int) []Key { return sets[i%groups] }
	tickets := make([]*Ticket, n)
	for i := range tickets {
		tickets[i] = submit(b, l, Normal, keys(i)...)
	}
	return l, tickets, keys
}

// One submit, its grant or that of the next in line, and one release.
func BenchmarkSubmitRelease(b *testing.B) {
	for _, queued := range []int{0, 5000, 50_000} {
		for _, groups := range []int{1, 16} {
			b.Run(fmt.Sprintf("queued=%d/sets=%d", queued, groups), func(b *testing.B) {
				l, tickets, keys := line(b, queued+1, groups)
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					at := i % len(tickets)
					tickets[at].Lease().Release()
					tickets[at] = submit(b, l, Normal, keys(i)...)
					i++
				}
			})
		}
	}
}

// The same through Acquire, which needs no goroutine for the grant.
func BenchmarkAcquireRelease(b *testing.B) {
	l := start(b, Options{})
	r := Request{Keys: []Key{{}, ForProvider("p"), ForModel("p", "m"), ForAgent("a")}, Expired: nothing}
	b.ReportAllocs()
	for b.Loop() {
		lease, err := l.Acquire(b.Context(), r)
		if err != nil {
			b.Fatal(err)
		}
		lease.Release()
	}
}

// What one more waiter costs, and its leaving.
func BenchmarkSubmitWithdraw(b *testing.B) {
	for _, queued := range []int{1, 5000} {
		b.Run(fmt.Sprintf("queued=%d", queued), func(b *testing.B) {
			l, _, keys := line(b, queued+1, 1)
			b.ReportAllocs()
			for b.Loop() {
				submit(b, l, Normal, keys(0)...).Withdraw()
			}
		})
	}
}

// A page of list_tasks: 50 places among 50,000 waiters.
func BenchmarkPosition50Of50000(b *testing.B) {
	for _, groups := range []int{1, 16} {
		b.Run(fmt.Sprintf("sets=%d", groups), func(b *testing.B) {
			_, tickets, _ := line(b, 50_000, groups)
			for b.Loop() {
				for i := range 50 {
					if tickets[1+i*999].Position() != 1+i*999 {
						b.Fatal("wrong place")
					}
				}
			}
		})
	}
}

// Everybody leaves, the last first.
func BenchmarkWithdrawAll50000(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		_, tickets, _ := line(b, 50_000, 16)
		b.StartTimer()
		for i := len(tickets) - 1; i > 0; i-- {
			tickets[i].Withdraw()
		}
	}
}
