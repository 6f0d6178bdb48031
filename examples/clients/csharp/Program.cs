// Writes four orders to a topic and reads them back in a group, with Confluent.Kafka (librdkafka).
// Needs the .NET SDK, 8 or newer.
//
//     dotnet run localhost:9092

using Confluent.Kafka;
using Confluent.Kafka.Admin;

(string Customer, string Order)[] orders =
    [("ada", "3 apples"), ("grace", "1 book"), ("ada", "2 pears"), ("alan", "1 pen")];
var bootstrap = args.Length > 0 ? args[0] : "localhost:9092";

// A topic is a number of partitions; each is a log of its own, which keeps its order.
using (var admin =
    new AdminClientBuilder(new AdminClientConfig { BootstrapServers = bootstrap }).Build())
{
    try
    {
        await admin.CreateTopicsAsync(
            [new TopicSpecification { Name = "orders", NumPartitions = 3 }]);
    }
    catch (CreateTopicsException failure)
        when (failure.Results.All(result => result.Error.Code == ErrorCode.TopicAlreadyExists))
    {
    }
}

// A key's messages go to one partition, so they stay in order. The partitioner named here picks
// the same one as Java's client does; librdkafka's own would pick another.
var producerConfig = new ProducerConfig
{
    BootstrapServers = bootstrap,
    Partitioner = Partitioner.Murmur2Random,
};
using (var producer = new ProducerBuilder<string, string>(producerConfig).Build())
{
    foreach (var (customer, order) in orders)
    {
        // Comes back when the broker has it; Produce() calls back instead.
        await producer.ProduceAsync(
            "orders", new Message<string, string> { Key = customer, Value = order });
    }
}

// The members of a group share a topic's partitions. Their group remembers how far it has read: run
// this twice, and it reads on where it stopped.
var consumerConfig = new ConsumerConfig
{
    BootstrapServers = bootstrap,
    GroupId = "warehouse",
    AutoOffsetReset = AutoOffsetReset.Earliest, // where a group begins that has never read
};
using var consumer = new ConsumerBuilder<string, string>(consumerConfig).Build();
consumer.Subscribe("orders");
foreach (var _ in orders)
{
    var read = consumer.Consume();
    Console.WriteLine(
        $"partition {read.Partition.Value}: {read.Message.Key} = {read.Message.Value}");
}
consumer.Close(); // commits what was read, and leaves the group
