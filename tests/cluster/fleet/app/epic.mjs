// What an Epic Stack app asks of litefs-js, as one JSON line. $LITEFS_JS: a node_modules directory. Argument: a txnum cookie.
import { pathToFileURL } from 'node:url'

const load = (name) => import(pathToFileURL(`${process.env.LITEFS_JS}/litefs-js/dist/${name}.js`))
const { getInstanceInfo, getTxNumber, getAllInstances, checkCookieForTransactionalConsistency } = await load('index')
const { ensurePrimary } = await load('http')

let ensure = null
await ensurePrimary({ writeHead: (status, headers) => { ensure = { status, ...headers } }, end: () => {} })
const consistency = process.argv[2] ? await checkCookieForTransactionalConsistency(`txnum=${process.argv[2]}`) : null
console.log(JSON.stringify({
  instance: await getInstanceInfo(), tx: await getTxNumber(), all: await getAllInstances(), ensure, consistency,
}))
