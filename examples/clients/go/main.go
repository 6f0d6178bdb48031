// Writes four orders to a topic and reads them back in a group, with franz-go.
//
//	go run . localhost:9092
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var orders = []*kgo.Record{
	kgo.KeyStringRecord("ada", "3 apples"),
	kgo.KeyStringRecord("grace", "1 book"),
	kgo.KeyStringRecord("ada", "2 pears"),
	kgo.KeyStringRecord("alan", "1 pen"),
}

func main() {
	bootstrap := "localhost:9092"
	if len(os.Args) > 1 {
		bootstrap = os.Args[1]
	}
	ctx := context.Background()
	if err := write(ctx, bootstrap); err != nil {
		log.Fatalf("writing: %v", err)
	}
	if err := read(ctx, bootstrap); err != nil {
		log.Fatalf("reading: %v", err)
	}
}

func write(ctx context.Context, bootstrap string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.DefaultProduceTopic("orders"))
	if err != nil {
		return err
	}
	defer client.Close()
	// A topic is a number of partitions; each is a log of its own, which keeps its order.
	_, err = kadm.NewClient(client).CreateTopic(ctx, 3, -1, nil, "orders")
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return err
	}
	// A key's records go to one partition, so they stay in order. This waits until the broker has
	// them all; Produce calls back instead.
	return client.ProduceSync(ctx, orders...).FirstErr()
}

// The members of a group share a topic's partitions. Their group remembers how far it has read: run
// this twice, and it reads on where it stopped.
func read(ctx context.Context, bootstrap string) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap),
		kgo.ConsumerGroup("warehouse"),
		kgo.ConsumeTopics("orders"),
		// Where a group begins that has never read.
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
	)
	if err != nil {
		return err
	}
	defer client.Close() // leaves the group
	for read := 0; read < len(orders); {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(order *kgo.Record) {
			fmt.Printf("partition %d: %s = %s\n", order.Partition, order.Key, order.Value)
			read++
		})
	}
	return client.CommitUncommittedOffsets(ctx)
}
