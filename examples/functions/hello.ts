/** Greets. The smallest shape of a function: a default export that takes a Request and gives a Response.
 *
 * curl 'http://127.0.0.1:8080/function/hello?name=Ada'
 * Hello, Ada! */
export default (request: Request): Response => {
  const name = new URL(request.url).searchParams.get("name") ?? "world"
  return new Response(`Hello, ${name}!\n`)
}
