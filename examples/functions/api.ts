/** A small JSON API with routes: converts temperatures. It refuses what it does not understand with a reason.
 *
 * curl http://127.0.0.1:8080/function/api/celsius/100
 * {"celsius":100,"fahrenheit":212,"kelvin":373.15}
 * curl --data '[0, 100]' http://127.0.0.1:8080/function/api/celsius
 * [{"celsius":0,"fahrenheit":32,"kelvin":273.15},{"celsius":100,"fahrenheit":212,"kelvin":373.15}] */
export default {
  async fetch(request: Request): Promise<Response> {
    const [unit, value, ...rest] = new URL(request.url).pathname.split("/").filter((part) => part !== "")
    if (unit === undefined) return Response.json({ usage: [one, many] })
    if (unit !== "celsius" || rest.length > 0) return refuse(404, `there is only ${one} and ${many}`)
    if (request.method === "GET" && value !== undefined) {
      const converted = convert(Number(value))
      return converted === undefined ? refuse(400, `"${value}" is not a temperature`) : Response.json(converted)
    }
    if (request.method === "POST" && value === undefined) return convertAll(await request.text())
    return refuse(405, `only ${one} and ${many}`)
  }
}

const one = "GET /celsius/DEGREES"
const many = "POST /celsius with an array of numbers"

const convertAll = (text: string): Response => {
  const values = parse(text)
  if (!Array.isArray(values)) return refuse(400, "the body is not a JSON array")
  const converted = values.map((value) => convert(typeof value === "number" ? value : Number.NaN))
  const wrong = converted.indexOf(undefined)
  return wrong === -1 ? Response.json(converted) : refuse(400, `entry ${wrong} is not a temperature`)
}

const convert = (celsius: number) =>
  Number.isFinite(celsius) && celsius >= -273.15
    ? { celsius, fahrenheit: round(celsius * 1.8 + 32), kelvin: round(celsius + 273.15) }
    : undefined

const round = (value: number): number => Math.round(value * 1e6) / 1e6

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const refuse = (status: number, error: string): Response => Response.json({ error }, { status })
