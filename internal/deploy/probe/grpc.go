package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// The health protocol of gRPC is one call with two messages of one field each, on HTTP/2, which
// net/http speaks: grpc.health.v1.Health/Check. No library is needed for that.

// states are those of HealthCheckResponse.ServingStatus.
var states = [...]string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}

const serving = 1

// maxMessage is the size of the largest answer that is read, in bytes.
const maxMessage = 4096

// grpc asks whether a service is serving; "" asks for the server as a whole. Servers speak HTTP/2 in clear, or else
// TLS.
func (p *Probe) grpc(ctx context.Context, address, service string) error {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	state, err := healthOf(ctx, p.h2c, "http://"+address, service)
	var said *grpcError
	if err != nil && !errors.As(err, &said) && ctx.Err() == nil {
		// A server that speaks TLS hangs up on what is no handshake. If that was not it, the first error says more.
		if s, again := healthOf(ctx, p.h2, "https://"+address, service); again == nil || errors.As(again, &said) {
			state, err = s, again
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("gRPC health: %w", unwrapped(err))
	case state != serving:
		name := strconv.FormatUint(state, 10)
		if state < uint64(len(states)) {
			name = states[state]
		}
		return fmt.Errorf("gRPC health: the state is %s, not SERVING", name)
	}
	return nil
}

// grpcError is what a gRPC server answers that answers no health.
type grpcError struct{ code, message string }

func (e *grpcError) Error() string {
	switch e.code {
	case "12":
		return "the server does not have grpc.health.v1.Health (status 12, unimplemented)"
	case "5":
		return "the server does not know that service (status 5, not found)"
	}
	if e.message != "" {
		return "status " + e.code + ": " + e.message
	}
	return "status " + e.code
}

func healthOf(ctx context.Context, client *http.Client, root, service string) (state uint64, err error) {
	var message []byte
	if service != "" {
		message = append(message, 1<<3|2) // field 1, a string
		message = binary.AppendUvarint(message, uint64(len(service)))
		message = append(message, service...)
	}
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, root+"/grpc.health.v1.Health/Check", bytes.NewReader(append(frame, message...)))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("TE", "trailers")
	answer, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return 0, &grpcError{code: "unknown", message: "HTTP " + status(answer)}
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxMessage+1))
	if err != nil {
		return 0, err
	}
	// The status is in the trailers, or in the header when there is no message.
	for _, h := range []http.Header{answer.Trailer, answer.Header} {
		if code := h.Get("Grpc-Status"); code != "" && code != "0" {
			said := h.Get("Grpc-Message")
			if len(said) > maxSaid {
				said = said[:maxSaid] + "…"
			}
			return 0, &grpcError{code, said}
		}
	}
	return healthState(body)
}

// errFrame says that an answer is no message of the protocol.
var errFrame = errors.New("the answer is no HealthCheckResponse")

// healthState reads a framed HealthCheckResponse: field 1 is the state; others are passed over.
func healthState(frame []byte) (state uint64, err error) {
	if len(frame) < 5 || len(frame) > maxMessage || frame[0] != 0 || uint64(binary.BigEndian.Uint32(frame[1:5])) != uint64(len(frame)-5) {
		return 0, errFrame
	}
	for b := frame[5:]; len(b) > 0; {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, errFrame
		}
		b = b[n:]
		skip := 0
		switch tag & 7 {
		case 0:
			v, n := binary.Uvarint(b)
			if n <= 0 {
				return 0, errFrame
			}
			if tag>>3 == 1 {
				state = v
			}
			skip = n
		case 1:
			skip = 8
		case 2:
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)) {
				return 0, errFrame
			}
			skip = n + int(size)
		case 5:
			skip = 4
		default:
			return 0, errFrame
		}
		if skip > len(b) {
			return 0, errFrame
		}
		b = b[skip:]
	}
	return state, nil
}
