package transcript

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/textproto"
	"strconv"
)

// writeFrame writes one message as the shim does.
func writeFrame(w io.Writer, m message) error {
	body, err := json.Marshal(struct {
		Version string `json:"jsonrpc"`
		message
	}{"2.0", m})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return err
}

// readFrames sends every message of r to out, until r ends. Then it closes out.
// The error is nil at the end of the input between two frames.
func readFrames(r io.Reader, out chan<- message) error {
	defer close(out)
	in := bufio.NewReader(r)
	for {
		if _, err := in.Peek(1); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		header, err := textproto.NewReader(in).ReadMIMEHeader()
		if err != nil {
			return fmt.Errorf("the header of a frame: %w", err)
		}
		length, err := strconv.Atoi(header.Get("Content-Length"))
		if err != nil || length < 0 || length > maxLine {
			return fmt.Errorf("a frame of length %q", header.Get("Content-Length"))
		}
		body := make([]byte, length)
		if _, err := io.ReadFull(in, body); err != nil {
			return fmt.Errorf("a frame was cut off: %w", err)
		}
		var m message
		if err := json.Unmarshal(body, &m); err != nil {
			return fmt.Errorf("a frame without a message: %w", err)
		}
		out <- m
	}
}
