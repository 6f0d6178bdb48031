// kafkajs against the broker at argv[2]: topics, keys, headers, gzip, a group of two members.
// Prints `ok` at the end; anything unexpected ends it with an error.

const assert = require('node:assert')
const { CompressionTypes, Kafka, logLevel } = require('kafkajs')

const TOPIC = 'kafkajs-orders'
const PARTITIONS = 3
const RECORDS = 600
const kafka = new Kafka({ brokers: [process.argv[2]], logLevel: logLevel.ERROR })

async function createTopic () {
  const admin = kafka.admin()
  await admin.connect()
  const topics = [{ topic: TOPIC, numPartitions: PARTITIONS }]
  assert.equal(await admin.createTopics({ topics, waitForLeaders: true }), true)
  const metadata = await admin.fetchTopicMetadata({ topics: [TOPIC] })
  assert.equal(metadata.topics[0].partitions.length, PARTITIONS)
  await admin.disconnect()
}

async function produce () {
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  const messages = Array.from({ length: RECORDS }, (_, number) => ({
    key: `customer-${number % 20}`, value: `order ${number} – é`, headers: { number: `${number}` }
  }))
  for (let from = 0; from < RECORDS; from += 100) {
    const compression = from % 200 === 0 ? CompressionTypes.GZIP : CompressionTypes.None
    await producer.send({ topic: TOPIC, compression, messages: messages.slice(from, from + 100) })
  }
  await producer.disconnect()
}

async function member (seen, everything) {
  const consumer = kafka.consumer({ groupId: 'kafkajs-group' })
  await consumer.connect()
  await consumer.subscribe({ topics: [TOPIC], fromBeginning: true })
  const joined = new Promise(resolve => consumer.on(consumer.events.GROUP_JOIN, resolve))
  await consumer.run({
    eachMessage: async ({ partition, message }) => {
      assert.equal(message.value.toString(), `order ${message.headers.number} – é`)
      seen.add(`${partition}/${message.offset}`)
      if (seen.size === RECORDS) everything()
    }
  })
  await joined
  return consumer
}

async function consumeInAGroup () {
  const seen = new Set()
  let everything
  const done = new Promise(resolve => { everything = resolve })
  const members = await Promise.all([member(seen, everything), member(seen, everything)])
  await done
  for (const consumer of members) await consumer.disconnect()
  const admin = kafka.admin()
  await admin.connect()
  const [{ partitions }] = await admin.fetchOffsets({ groupId: 'kafkajs-group', topics: [TOPIC] })
  const committed = partitions.reduce((sum, { offset }) => sum + Math.max(0, Number(offset)), 0)
  assert.equal(committed, RECORDS)
  await admin.disconnect()
}

setTimeout(() => { console.error('no end after 60 s'); process.exit(1) }, 60_000).unref()
createTopic().then(produce).then(consumeInAGroup)
  .then(() => { console.log('ok'); process.exit(0) })
  .catch(error => { console.error(error); process.exit(1) })
