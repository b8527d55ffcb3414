package main

import (
	"fmt"
	"slices"
	"time"
)

// sample is some measurements of one thing, sorted.
type sample []time.Duration

func sorted(list []time.Duration) sample {
	s := slices.Clone(list)
	slices.Sort(s)
	return s
}

// fromMS is a sample of numbers in milliseconds, as the scripts give them.
func fromMS(list []float64) sample {
	s := make(sample, len(list))
	for i, v := range list {
		s[i] = time.Duration(v * float64(time.Millisecond))
	}
	slices.Sort(s)
	return s
}

// at returns the quantile q, by the nearest rank; 0 for an empty sample.
func (s sample) at(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

func (s sample) median() time.Duration { return s.at(0.5) }

// spread is median, range and count.
func (s sample) spread() string {
	if len(s) == 0 {
		return "nothing measured"
	}
	return fmt.Sprintf("median %s (%s–%s, n=%d)", show(s.median()), show(s[0]), show(s[len(s)-1]), len(s))
}

// tail is median, 99th percentile and count.
func (s sample) tail() string {
	return fmt.Sprintf("p50 %s, p99 %s (n=%d)", show(s.median()), show(s.at(0.99)), len(s))
}

// values are the numbers of a sample for machines.
func (s sample) values() map[string]float64 {
	if len(s) == 0 {
		return nil
	}
	return map[string]float64{
		"p50_ms": ms(s.median()), "p99_ms": ms(s.at(0.99)), "min_ms": ms(s[0]), "max_ms": ms(s[len(s)-1]), "n": float64(len(s)),
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// show is a duration with three digits or so, and a unit that suits it.
func show(d time.Duration) string {
	v := ms(d)
	switch {
	case v < 0:
		return "-" + show(-d)
	case v >= 10_000:
		return fmt.Sprintf("%.1f s", v/1000)
	case v >= 1000:
		return fmt.Sprintf("%.2f s", v/1000)
	case v >= 100:
		return fmt.Sprintf("%.0f ms", v)
	case v >= 10:
		return fmt.Sprintf("%.1f ms", v)
	case v >= 1:
		return fmt.Sprintf("%.2f ms", v)
	default:
		return fmt.Sprintf("%.3f ms", v)
	}
}

func medianOf(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(list))
	return s[len(s)/2]
}
