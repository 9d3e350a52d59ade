package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc"

	pb "titanload/pb"
)

// coordinator knows one agent and signs tokens for it: just what a load needs, and no more.
type coordinator struct {
	pb.UnimplementedCoordinatorServiceServer
	key        *rsa.PrivateKey
	publicPEM  string
	registered chan *pb.AgentRegistration
	keyCalls   atomic.Int64
	serial     atomic.Int64
}

func serveCoordinator() (*coordinator, string, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, "", err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, "", err
	}
	c := &coordinator{
		key:        key,
		publicPEM:  string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		registered: make(chan *pb.AgentRegistration, 8),
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	server := grpc.NewServer()
	pb.RegisterCoordinatorServiceServer(server, c)
	go server.Serve(listener)
	return c, listener.Addr().String(), nil
}

func (c *coordinator) RegisterAgent(_ context.Context, r *pb.AgentRegistration) (*pb.RegistrationResponse, error) {
	select {
	case c.registered <- r:
	default:
	}
	return &pb.RegistrationResponse{Status: "success", HeartbeatIntervalSeconds: 15}, nil
}

func (c *coordinator) ReportHealth(stream pb.CoordinatorService_ReportHealthServer) error {
	for {
		update, err := stream.Recv()
		if err != nil {
			return nil
		}
		if err := stream.Send(&pb.HealthAck{AgentId: update.AgentId, Status: "ok"}); err != nil {
			return nil
		}
	}
}

func (c *coordinator) GetPublicKey(context.Context, *pb.PublicKeyRequest) (*pb.PublicKeyResponse, error) {
	c.keyCalls.Add(1)
	return &pb.PublicKeyResponse{PublicKeyPem: c.publicPEM, Algorithm: "RS256", Issuer: "titancompute-coordinator"}, nil
}

func (c *coordinator) token(agentID string) string {
	now := time.Now().Unix()
	claims := jwt.MapClaims{
		"agent_id": agentID, "client_id": "load", "model": modelName, "iss": "titancompute-coordinator",
		"jti": fmt.Sprintf("load-%d-%d", now, c.serial.Add(1)), "iat": now, "nbf": now, "exp": now + 300,
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(c.key)
	if err != nil {
		panic(err)
	}
	return text
}
