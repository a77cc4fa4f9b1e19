export default {
  fetch: async (request: Request): Promise<Response> =>
    new Response(request.body, {
      status: 201,
      headers: {
        "x-method": request.method,
        "x-path": new URL(request.url).pathname,
        "content-type": "application/octet-stream"
      }
    })
}
