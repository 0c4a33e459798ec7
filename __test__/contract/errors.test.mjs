// Errors look like Node's: fields, messages, and the caller in the stack.
import { writeFileSync } from 'node:fs'
import { open as nodeOpen } from 'node:fs/promises'
import test from 'ava'
import { contract } from '../helpers/backends.mjs'
import { tempDirectory, tempFile } from '../helpers/temp.mjs'

async function failure(promise) {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}

const fieldsOf = (error) => ({ ...error, name: error.name, message: error.message })

contract(test, 'errors of the system have the fields and the message of Node', async (t, { open }) => {
  const directory = tempDirectory(t)
  const path = `${directory}/file`
  writeFileSync(path, 'x')
  for (const attempt of [
    (open) => open(`${directory}/nope`),
    (open) => open(Buffer.from(`${directory}/nope`)),
    (open) => open(new URL(`file://${directory}/n%20pe`)),
    (open) => open(''),
    (open) => open(`${path}/below`),
    (open) => open('x'.repeat(5000)),
    (open) => open(directory, 'w'),
    (open) => open(path, 'r').then((file) => file.write('x').finally(() => file.close())),
    (open) => open(path, 'r').then((file) => file.writev([Buffer.from('x')]).finally(() => file.close())),
    (open) => open(path, 'r').then((file) => file.truncate(1).finally(() => file.close())),
    (open) => open(path, 'a').then((file) => file.read().finally(() => file.close())),
    (open) => open(path, 'a').then((file) => file.readv([Buffer.alloc(1)]).finally(() => file.close())),
    (open) => open('/dev/null', 'r').then((file) => file.sync().finally(() => file.close())),
    (open) => open(path, 'r+').then((file) => file.truncate(Number.MAX_SAFE_INTEGER).finally(() => file.close())),
  ]) {
    const ours = await failure(attempt(open))
    const theirs = await failure(attempt(nodeOpen))
    t.deepEqual(fieldsOf(ours), fieldsOf(theirs))
    t.deepEqual(Object.keys(ours), Object.keys(theirs))
    t.true(ours instanceof Error)
    t.true(ours.errno < 0)
  }
})

contract(test, 'the stack of a failed open names its callers', async (t, { open }) => {
  async function innerCaller() {
    await open('/nope')
  }
  async function outerCaller() {
    try {
      await innerCaller()
    } catch (error) {
      return error
    }
  }
  const { stack } = await outerCaller()
  t.regex(stack, /^Error: ENOENT: no such file or directory, open '\/nope'\n/)
  t.regex(stack, /at async innerCaller .*errors\.test\.mjs/)
  t.regex(stack, /at async outerCaller .*errors\.test\.mjs/)
})

contract(test, 'the stack of each failed operation names its caller', async (t, { open }) => {
  const path = tempFile(t)
  writeFileSync(path, 'x')
  const readable = await open(path, 'r')
  const writable = await open(path, 'a')
  const attempts = [
    () => readable.write('x'),
    () => readable.write(Buffer.from('x'), 0, 1, 0),
    () => readable.writev([Buffer.from('x')]),
    () => readable.writeFile('x'),
    () => readable.appendFile(['x']),
    () => readable.truncate(5),
    () => writable.read(),
    () => writable.readv([Buffer.alloc(5)]),
    () => writable.readFile(),
  ]
  for (const attempt of attempts) {
    async function namedCaller() {
      await attempt()
    }
    const error = await failure(namedCaller())
    t.regex(error.stack, /namedCaller .*errors\.test\.mjs/, String(attempt))
  }
  await readable.close()
  await writable.close()
  async function closedCaller() {
    await readable.read()
  }
  t.regex((await failure(closedCaller())).stack, /closedCaller .*errors\.test\.mjs/)
})

contract(test, 'errors of arguments have their code in the stack but not in the name', async (t, { open }) => {
  const error = await failure(open('x', 'zz'))
  t.true(error instanceof TypeError)
  t.is(error.name, 'TypeError')
  t.is(error.code, 'ERR_INVALID_ARG_VALUE')
  t.regex(error.stack, /^TypeError \[ERR_INVALID_ARG_VALUE\]: The argument 'flags' is invalid\. Received 'zz'\n/)
  t.regex(error.stack, /errors\.test\.mjs/)
})
