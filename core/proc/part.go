package proc

import "strconv"

// partMark stands in no Identity.
const partMark = "."

// Part names the n-th of several that act for the process of an Identity; the
// first one goes by the Identity itself. Lives judges a Part like its Identity.
func Part(identity string, n int) string {
	if n <= 1 {
		return identity
	}
	return identity + partMark + strconv.Itoa(n)
}
