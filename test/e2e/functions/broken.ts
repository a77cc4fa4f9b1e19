export default (request: Request) => {
  return new Response("unbalanced"
}
