import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            tensors = [pb_utils.Tensor(t.name(), t.as_numpy()) for t in request.inputs()]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses
