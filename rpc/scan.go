package rpc

// The scanner below checks and measures JSON values in one pass. It accepts
// exactly what encoding/json's Valid accepts, which the fuzz targets hold it
// to, in about half the time or less, and splits the envelope on the way: every
// byte that comes in passes here, on the read goroutine.

// maxDepth is encoding/json's own limit, so that whatever passes here can also
// be decoded.
const maxDepth = 10000

// skipSpace returns the index of the next byte that is no white space, at most
// len(b).
func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// at returns the byte at i, 0 behind the end: no token of JSON is 0.
func at(b []byte, i int) byte {
	if i < len(b) {
		return b[i]
	}
	return 0
}

// scanValue returns the index behind the value that starts at i, which lies in
// depth containers, or -1. It keeps its own stack instead of recursing: depth
// is the sender's choice.
func scanValue(b []byte, i, depth int) int {
	var space [64]bool
	objects := space[:0] // whether each open container is an object
	for {
		// A value starts here.
		switch c := at(b, i); c {
		case '{', '[':
			objects = append(objects, c == '{')
			if len(objects)+depth > maxDepth {
				return -1
			}
			i = skipSpace(b, i+1)
			if at(b, i) != c+2 { // the closing brackets come 2 behind
				if c == '{' {
					if i = scanKey(b, i); i < 0 {
						return -1
					}
				}
				continue
			}
			objects = objects[:len(objects)-1]
			i++
		case '"':
			i = scanString(b, i)
		case 't':
			i = scanWord(b, i, "true")
		case 'f':
			i = scanWord(b, i, "false")
		case 'n':
			i = scanWord(b, i, "null")
		default:
			i = scanNumber(b, i)
		}
		// A value ended here; so may what it is in.
		for {
			if i < 0 || len(objects) == 0 {
				return i
			}
			i = skipSpace(b, i)
			object := objects[len(objects)-1]
			c := at(b, i)
			if c == ',' {
				i = skipSpace(b, i+1)
				if object {
					i = scanKey(b, i)
				}
				break
			}
			if object && c != '}' || !object && c != ']' {
				return -1
			}
			objects = objects[:len(objects)-1]
			i++
		}
		if i < 0 {
			return -1
		}
	}
}

// scanKey returns the index of the value behind the key at i, or -1.
func scanKey(b []byte, i int) int {
	if i = scanString(b, i); i < 0 {
		return -1
	}
	if i = skipSpace(b, i); at(b, i) != ':' {
		return -1
	}
	return skipSpace(b, i+1)
}

// scanString returns the index behind the string at i, or -1.
func scanString(b []byte, i int) int {
	if at(b, i) != '"' {
		return -1
	}
	for i++; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c < ' ':
			return -1
		case c != '\\':
			continue
		}
		i++
		switch at(b, i) {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		case 'u':
			for range 4 {
				i++
				if c := at(b, i); !isDigit(c) && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
					return -1
				}
			}
		default:
			return -1
		}
	}
	return -1
}

func scanWord(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

func scanNumber(b []byte, i int) int {
	if at(b, i) == '-' {
		i++
	}
	switch c := at(b, i); {
	case c == '0':
		i++
	case isDigit(c):
		i = skipDigits(b, i)
	default:
		return -1
	}
	if at(b, i) == '.' {
		if i++; !isDigit(at(b, i)) {
			return -1
		}
		i = skipDigits(b, i)
	}
	if c := at(b, i); c == 'e' || c == 'E' {
		i++
		if c := at(b, i); c == '+' || c == '-' {
			i++
		}
		if !isDigit(at(b, i)) {
			return -1
		}
		i = skipDigits(b, i)
	}
	return i
}

func skipDigits(b []byte, i int) int {
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	return i
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
