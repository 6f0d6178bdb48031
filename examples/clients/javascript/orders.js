// Writes four orders to a topic and reads them back in a group, with kafkajs.
//
//     npm install
//     node orders.js localhost:9092

const { Kafka, Partitioners, logLevel } = require('kafkajs')

const ORDERS = [
  { key: 'ada', value: '3 apples' },
  { key: 'grace', value: '1 book' },
  { key: 'ada', value: '2 pears' },
  { key: 'alan', value: '1 pen' }
]
const kafka = new Kafka({
  clientId: 'orders-example',
  brokers: [process.argv[2] ?? 'localhost:9092'],
  logLevel: logLevel.ERROR
})

// A topic is a number of partitions; each is a log of its own, which keeps its order.
async function createTopic () {
  const admin = kafka.admin()
  await admin.connect()
  const topics = await admin.listTopics()
  if (!topics.includes('orders')) {
    await admin.createTopics({ topics: [{ topic: 'orders', numPartitions: 3 }] })
  }
  await admin.disconnect()
}

// A key's messages go to one partition, so they stay in order.
async function write () {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner })
  await producer.connect()
  await producer.send({ topic: 'orders', messages: ORDERS }) // resolves when the broker has them
  await producer.disconnect()
}

// The members of a group share a topic's partitions. Their group remembers how far it has read:
// run this twice, and it reads on where it stopped.
async function read () {
  const consumer = kafka.consumer({ groupId: 'warehouse' })
  await consumer.connect()
  // fromBeginning: where a group begins that has never read
  await consumer.subscribe({ topics: ['orders'], fromBeginning: true })
  let left = ORDERS.length
  await new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error))
    consumer.run({
      eachMessage: async ({ partition, message }) => {
        console.log(`partition ${partition}: ${message.key} = ${message.value}`)
        left -= 1
        if (left === 0) resolve()
      }
    }).catch(reject)
  })
  await consumer.disconnect() // commits what was read, and leaves the group
}

createTopic().then(write).then(read).catch(error => {
  console.error(error)
  process.exitCode = 1
})
