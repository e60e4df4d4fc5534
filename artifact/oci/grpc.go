package oci

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
)

// grpcClient is as much of a gRPC client as containerd's five calls need: unary and
// server-streaming calls over HTTP/2 without TLS on a Unix socket, no compression
// (gRPC over HTTP2, doc/PROTOCOL-HTTP2.md). net/http speaks the protocol below it; the
// usual library and containerd's client would bring 200 packages for the same.
type grpcClient struct {
	http *http.Client

	mu    sync.Mutex
	conns []net.Conn
}

func newGRPCClient(socket string) *grpcClient {
	c := &grpcClient{}
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "unix", socket)
			if err == nil {
				c.mu.Lock()
				c.conns = append(c.conns, conn)
				c.mu.Unlock()
			}
			return conn, err
		},
		Protocols: new(http.Protocols),
	}
	t.Protocols.SetUnencryptedHTTP2(true)
	c.http = &http.Client{Transport: t}
	return c
}

// close ends the connections. A stream that was just closed still counts as busy for
// a moment, and its connection would not be idle: it is closed all the same.
func (c *grpcClient) close() {
	c.http.CloseIdleConnections()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

// grpcError is a call that the server refused.
type grpcError struct {
	code    int
	message string
}

const (
	grpcNotFound        = 5
	maxGRPCMessage      = 16 << 20
	grpcPrefix          = 5 // compressed flag, length
	grpcContentType     = "application/grpc"
	containerdNamespace = "containerd-namespace"
)

func (e *grpcError) Error() string { return fmt.Sprintf("%s (gRPC code %d)", e.message, e.code) }

// call begins a call; namespace may be empty.
func (c *grpcClient) call(ctx context.Context, namespace, method string, request []byte) (*grpcStream, error) {
	body := make([]byte, grpcPrefix, grpcPrefix+len(request))
	binary.BigEndian.PutUint32(body[1:], uint32(len(request)))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://containerd/"+method, bytes.NewReader(append(body, request...)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", grpcContentType)
	req.Header.Set("TE", "trailers")
	if namespace != "" {
		req.Header.Set(containerdNamespace, namespace)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("answered HTTP %d; not a gRPC server", resp.StatusCode)
	}
	return &grpcStream{resp: resp}, nil
}

// unary makes a call with one answer.
func (c *grpcClient) unary(ctx context.Context, namespace, method string, request []byte) ([]byte, error) {
	s, err := c.call(ctx, namespace, method, request)
	if err != nil {
		return nil, err
	}
	defer s.close()
	m, err := s.next()
	if err == io.EOF {
		return nil, errors.New("the server sent no answer")
	}
	if err != nil {
		return nil, err
	}
	if _, err := s.next(); err != io.EOF {
		if err == nil {
			err = errors.New("the server sent a second answer")
		}
		return nil, err
	}
	return m, nil
}

type grpcStream struct{ resp *http.Response }

func (s *grpcStream) close() { s.resp.Body.Close() }

// next returns the next message, io.EOF after the last.
func (s *grpcStream) next() ([]byte, error) {
	var prefix [grpcPrefix]byte
	if _, err := io.ReadFull(s.resp.Body, prefix[:]); err != nil {
		if err == io.EOF {
			return nil, s.status()
		}
		return nil, err
	}
	if prefix[0] != 0 {
		return nil, errors.New("the server sent a compressed message unasked")
	}
	n := binary.BigEndian.Uint32(prefix[1:])
	if n > maxGRPCMessage {
		return nil, tooLarge("gRPC message", int64(n), maxGRPCMessage)
	}
	m := make([]byte, n)
	if _, err := io.ReadFull(s.resp.Body, m); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	return m, nil
}

// status is what the trailers say, io.EOF for OK. A call without an answer may put
// them into the header.
func (s *grpcStream) status() error {
	code, message := s.resp.Trailer.Get("grpc-status"), s.resp.Trailer.Get("grpc-message")
	if code == "" {
		code, message = s.resp.Header.Get("grpc-status"), s.resp.Header.Get("grpc-message")
	}
	if code == "0" {
		return io.EOF
	}
	n, err := strconv.Atoi(code)
	if err != nil {
		return io.ErrUnexpectedEOF // the connection broke before the status
	}
	if plain, err := url.PathUnescape(message); err == nil {
		message = plain
	}
	if len(message) > 300 {
		message = message[:300]
	}
	return &grpcError{n, message}
}

// fields calls fn for each field of a protobuf message; value is nil for a varint,
// number is 0 for everything else.
func fields(m []byte, fn func(field protowire.Number, value []byte, number uint64) error) error {
	for len(m) > 0 {
		num, typ, n := protowire.ConsumeTag(m)
		if n < 0 {
			return fmt.Errorf("protobuf message: %w", protowire.ParseError(n))
		}
		m = m[n:]
		var value []byte
		var number uint64
		switch typ {
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(m)
			if value == nil {
				value = []byte{}
			}
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(m)
		default:
			n = protowire.ConsumeFieldValue(num, typ, m)
		}
		if n < 0 {
			return fmt.Errorf("protobuf message: %w", protowire.ParseError(n))
		}
		m = m[n:]
		if err := fn(num, value, number); err != nil {
			return err
		}
	}
	return nil
}

func appendString(m []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(m, field, protowire.BytesType), s)
}

func appendInt(m []byte, field protowire.Number, v int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(m, field, protowire.VarintType), uint64(v))
}
