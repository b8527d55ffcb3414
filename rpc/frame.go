package rpc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

const (
	// maxFrame is the largest body that either side reads, so nothing larger is
	// sent; maxDrain is the largest one that is skipped. A longer one closes the
	// connection.
	maxFrame = 32 << 20
	maxDrain = 256 << 20
	// maxID is the longest id that is taken: it comes back in the answer, which
	// must stay far below the limit of the other side.
	maxID = 64 << 10
	// maxHeader bounds the header block of a frame.
	maxHeader = 8 << 10
	// keepBody is the largest body that is kept for reuse, keepQueue the largest
	// outgoing queue, so that one huge message does not stay in memory for good.
	// The collector empties the pool of bodies now and then, but not the queue.
	keepBody  = 4 << 20
	keepQueue = 1 << 20
)

// buffer is the body of one frame. Whoever holds it may give it back to the
// pool once no slice of it is in use; one that is never given back is garbage
// like any other.
type buffer struct{ b []byte }

// frameReader cuts the input into frames. It is used by one goroutine, except
// for free.
type frameReader struct {
	in              *bufio.Reader
	maxBody, maxLen int64
	pool            sync.Pool
}

func newFrameReader(in io.Reader, maxBody, maxLen int64) *frameReader {
	return &frameReader{in: bufio.NewReaderSize(in, 64<<10), maxBody: maxBody, maxLen: maxLen}
}

// next returns the next body. bad is set instead when a frame was skipped and
// has to be answered. err is io.EOF at the end of the input, inside a frame as
// well as between two; a *FrameError; or a *StreamError.
func (f *frameReader) next() (body *buffer, bad *Error, err error) {
	length, err := f.header()
	if err != nil {
		return nil, nil, inputError(err)
	}
	if length > f.maxBody {
		// Discard goes through the reader's own buffer: nothing is kept.
		for left := length; left > 0; {
			n, err := f.in.Discard(int(min(left, 1<<30)))
			if left -= int64(n); err != nil {
				return nil, nil, inputError(err)
			}
		}
		return nil, Refused(wire.KindTooLarge, "The message has %d bytes; at most %d are read.", length, f.maxBody), nil
	}
	body = f.alloc(int(length))
	if _, err := io.ReadFull(f.in, body.b); err != nil {
		return nil, nil, inputError(err)
	}
	return body, nil, nil
}

// inputError sorts the errors of the input: a frame that is cut off by the end
// of the input is what a dying peer leaves behind, so it is an ordered end.
func inputError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	if fe, ok := errors.AsType[*FrameError](err); ok {
		return fe
	}
	return &StreamError{Op: "read", Err: err}
}

// header reads one header block and returns the length of the body. It looks at
// every byte as it comes and gives up on the first that cannot belong to a
// header: a peer that forgets the framing must get its error now, not after
// 8 KiB more.
func (f *frameReader) header() (int64, error) {
	var (
		line   []byte
		space  [128]byte
		length int64 = -1
		total  int
	)
	for {
		line = space[:0]
		colon := -1
		for {
			b, err := f.in.ReadByte()
			if err != nil {
				return 0, err
			}
			if total++; total > maxHeader {
				return 0, &FrameError{Reason: fmt.Sprintf("the header is longer than %d bytes", maxHeader), kind: wire.KindParse}
			}
			if b == '\n' {
				break
			}
			if colon < 0 {
				switch {
				case b == ':' && len(line) > 0:
					colon = len(line)
				case b == '\r' && len(line) == 0:
				case len(line) == 1 && line[0] == '\r', !isToken(b):
					return 0, &FrameError{Reason: fmt.Sprintf("byte %q is not part of a header", b), kind: wire.KindParse}
				}
			}
			line = append(line, b)
		}
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			break
		}
		if colon < 0 {
			return 0, &FrameError{Reason: "a header line has no colon", kind: wire.KindParse}
		}
		if !bytes.EqualFold(line[:colon], []byte("Content-Length")) {
			continue
		}
		n, err := f.parseLength(bytes.Trim(line[colon+1:], " \t"))
		if err != nil {
			return 0, err
		}
		if length >= 0 && n != length {
			return 0, &FrameError{Reason: "two Content-Length headers differ", kind: wire.KindParse}
		}
		length = n
	}
	if length < 0 {
		return 0, &FrameError{Reason: "the Content-Length header is missing", kind: wire.KindParse}
	}
	return length, nil
}

func (f *frameReader) parseLength(v []byte) (int64, error) {
	if len(v) == 0 {
		return 0, &FrameError{Reason: "Content-Length is empty", kind: wire.KindParse}
	}
	var n int64
	for _, b := range v {
		if b < '0' || b > '9' {
			return 0, &FrameError{Reason: fmt.Sprintf("Content-Length %.40q is not a whole number of bytes", v), kind: wire.KindParse}
		}
		// Capped, so that no number of digits overflows.
		n = min(n*10+int64(b-'0'), f.maxLen+1)
	}
	if n > f.maxLen {
		return 0, &FrameError{Reason: fmt.Sprintf("a message of more than %d bytes is announced", f.maxLen), kind: wire.KindTooLarge}
	}
	return n, nil
}

// isToken reports whether b may stand in the name of a header.
func isToken(b byte) bool {
	switch {
	case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		return true
	}
	return bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), b) >= 0
}

func (f *frameReader) alloc(n int) *buffer {
	if n <= keepBody {
		if b, ok := f.pool.Get().(*buffer); ok {
			if cap(b.b) >= n {
				b.b = b.b[:n]
				return b
			}
		}
	}
	return &buffer{b: make([]byte, n, max(n, 512))}
}

// free gives a body back. No slice of it may be used afterwards.
func (f *frameReader) free(b *buffer) {
	if b != nil && cap(b.b) <= keepBody {
		f.pool.Put(b)
	}
}
