/** Sends the body back as it comes in, piece by piece, in capitals with `?upper`; without a body it tells what it was asked.
 *
 * curl --data 'a long text' 'http://127.0.0.1:8080/function/echo?upper'
 * A LONG TEXT */
export default {
  fetch(request: Request): Response {
    const url = new URL(request.url)
    if (request.body === null) {
      return Response.json({ method: request.method, path: url.pathname, query: Object.fromEntries(url.searchParams) })
    }
    const type = request.headers.get("content-type") ?? "application/octet-stream"
    const body = url.searchParams.has("upper")
      ? request.body.pipeThrough(new TextDecoderStream()).pipeThrough(upper()).pipeThrough(new TextEncoderStream())
      : request.body
    return new Response(body, { headers: { "content-type": type } })
  }
}

const upper = () =>
  new TransformStream<string, string>({
    transform: (text, controller) => controller.enqueue(text.toUpperCase())
  })
